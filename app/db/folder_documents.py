"""Documents of folders, which all chats of a folder can use, and the folders that share theirs.

Every statement names the user whose folder it is. Those that read what another user shares look at
each time whether it still is shared.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import aiosqlite

from app.db import attachments
from app.db.attachments import Attachment, NewAttachment

if TYPE_CHECKING:
    from app.db.connection import Database

_NAMES: Final = ", ".join(f"a.{name} AS {name}" for name in Attachment.__slots__)


@dataclass(frozen=True, slots=True)
class FolderDocument:
    """A document of a folder. user_id: whose it is; folder: the name of the folder it is in; owner:
    the name of the user who shares it, empty for one's own."""

    file: Attachment
    user_id: int
    folder: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that another user shares. documents: how many it has; is_used: whether the folder
    that is looked at uses them."""

    id: int
    name: str
    owner: str
    documents: int
    is_used: bool


async def add(
    connection: aiosqlite.Connection, user_id: int, folder_id: int, file: NewAttachment, now: float
) -> int | None:
    """Add a document to a folder and return its id; None where there is no such folder. One of the
    same name is replaced."""
    rows = await connection.execute_fetchall(
        "SELECT 1 FROM folders WHERE id = ? AND user_id = ?", (folder_id, user_id)
    )
    if not rows:
        return None
    await connection.execute(
        "DELETE FROM attachments WHERE folder_id = ? AND user_id = ? AND name = ?",
        (folder_id, user_id, file.name),
    )
    return await attachments.add(connection, user_id, file, now, folder_id=folder_id)


async def has_text(db: Database, user_id: int, folder: str, text: str) -> bool:
    """Tell whether a user's folder of this name has a document with this text."""
    row = await db.fetch_one(
        "SELECT 1 FROM attachments a JOIN folders f ON f.id = a.folder_id"
        " WHERE f.user_id = ? AND a.user_id = f.user_id AND f.name = ? AND a.text = ? LIMIT 1",
        (user_id, folder, text),
    )
    return row is not None


async def deliver_one(connection: aiosqlite.Connection, holder: int) -> bool:
    """Move a document of an import into the user's folder of that name, beside all that is there:
    where its name is taken it gets another. Return whether there was one."""
    rows = await connection.execute_fetchall(
        "SELECT a.id, a.name, o.id AS folder FROM folders f JOIN users u ON u.id = f.user_id"
        " JOIN attachments a ON a.folder_id = f.id AND a.user_id = u.holds_for"
        " JOIN folders o ON o.user_id = u.holds_for AND o.name = f.name"
        " WHERE f.user_id = ? ORDER BY a.id, o.id LIMIT 1",
        (holder,),
    )
    for row in rows:
        taken = await connection.execute_fetchall(
            "SELECT name FROM attachments WHERE folder_id = ?", (row["folder"],)
        )
        name = _free_name(row["name"], {one["name"] for one in taken})
        await connection.execute(
            "UPDATE attachments SET folder_id = ?, name = ? WHERE id = ?",
            (row["folder"], name, row["id"]),
        )
        return True
    return False


def _free_name(name: str, taken: Set[str]) -> str:
    """Name that no other document has: `a.txt`, then `a (2).txt`."""
    path, number, found = PurePosixPath(name), 1, name
    while found in taken:
        number += 1
        found = f"{path.stem} ({number}){path.suffix}"
    return found


async def remove(
    connection: aiosqlite.Connection, user_id: int, folder_id: int, attachment_id: int
) -> bool:
    """Delete a document of a folder. Return whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM attachments WHERE id = ? AND user_id = ? AND folder_id = ?",
        (attachment_id, user_id, folder_id),
    )
    return cursor.rowcount > 0


async def share(
    connection: aiosqlite.Connection, user_id: int, folder_id: int, *, is_shared: bool
) -> bool:
    """Let other users' folders use these documents, or no longer. Return whether there is such a
    folder."""
    cursor = await connection.execute(
        "UPDATE folders SET is_shared = ? WHERE id = ? AND user_id = ?",
        (int(is_shared), folder_id, user_id),
    )
    if not is_shared:
        await connection.execute(
            "DELETE FROM used_folders WHERE source_id IN"
            " (SELECT id FROM folders WHERE id = ? AND user_id = ?)",
            (folder_id, user_id),
        )
    return cursor.rowcount > 0


async def use(
    connection: aiosqlite.Connection, user_id: int, folder_id: int, source_id: int, *, is_used: bool
) -> bool:
    """Have a folder use the documents of another user's, or no longer. Return whether it can."""
    await connection.execute(
        "DELETE FROM used_folders WHERE source_id = ?2 AND folder_id IN"
        " (SELECT id FROM folders WHERE id = ?1 AND user_id = ?3)",
        (folder_id, source_id, user_id),
    )
    if not is_used:
        return True
    cursor = await connection.execute(
        "INSERT INTO used_folders (folder_id, source_id) SELECT f.id, s.id"
        " FROM folders f, folders s WHERE f.id = ? AND f.user_id = ? AND s.id = ?"
        " AND s.is_shared = 1 AND s.user_id <> f.user_id",
        (folder_id, user_id, source_id),
    )
    return cursor.rowcount > 0


async def list_all(db: Database, user_id: int, folder_id: int) -> list[FolderDocument]:
    """List the documents that the chats of a folder can use: its own, then those shared with it."""
    rows = await db.fetch_all(
        f"SELECT {_NAMES}, a.user_id, f.name AS folder, '' AS owner, 0 AS is_shared FROM folders f"  # noqa: S608
        " JOIN attachments a ON a.folder_id = f.id AND a.user_id = f.user_id"
        " WHERE f.id = ?1 AND f.user_id = ?2"
        f" UNION ALL SELECT {_NAMES}, a.user_id, s.name, u.name, 1 FROM folders f"
        " JOIN used_folders l ON l.folder_id = f.id"
        " JOIN folders s ON s.id = l.source_id AND s.is_shared = 1"
        " JOIN users u ON u.id = s.user_id"
        " JOIN attachments a ON a.folder_id = s.id AND a.user_id = s.user_id"
        " WHERE f.id = ?1 AND f.user_id = ?2 ORDER BY is_shared, name, id",
        (folder_id, user_id),
    )
    return [
        FolderDocument(attachments.shown_row(row), row["user_id"], row["folder"], row["owner"])
        for row in rows
    ]


async def find(
    db: Database, user_id: int, folder_id: int, attachment_id: int
) -> FolderDocument | None:
    """Find a document that the chats of a folder can use."""
    found = await list_all(db, user_id, folder_id)
    return next((one for one in found if one.file.id == attachment_id), None)


async def is_shared(db: Database, user_id: int, folder_id: int) -> bool:
    row = await db.fetch_one(
        "SELECT is_shared FROM folders WHERE id = ? AND user_id = ?", (folder_id, user_id)
    )
    return row is not None and bool(row["is_shared"])


async def list_shared(db: Database, user_id: int, folder_id: int) -> list[SharedFolder]:
    """List the folders of other users whose documents this folder may use."""
    rows = await db.fetch_all(
        "SELECT s.id, s.name, u.name AS owner, (SELECT count(*) FROM attachments a"
        " WHERE a.folder_id = s.id) AS documents, EXISTS (SELECT 1 FROM used_folders l"
        " WHERE l.folder_id = f.id AND l.source_id = s.id) AS is_used"
        " FROM folders f, folders s JOIN users u ON u.id = s.user_id"
        " WHERE f.id = ? AND f.user_id = ? AND s.is_shared = 1 AND s.user_id <> f.user_id"
        " AND u.holds_for IS NULL AND u.id NOT IN (SELECT user_id FROM leavers)"
        " ORDER BY u.name, s.name, s.id",
        (folder_id, user_id),
    )
    return [
        SharedFolder(row["id"], row["name"], row["owner"], row["documents"], bool(row["is_used"]))
        for row in rows
    ]


async def in_chat(db: Database, user_id: int, chat_id: str) -> list[Attachment]:
    """List the files of the messages of a chat, pictures and sounds left out."""
    rows = await db.fetch_all(
        f"SELECT {_NAMES} FROM attachments a JOIN messages m ON m.id = a.message_id"  # noqa: S608
        " JOIN chats c ON c.id = m.chat_id WHERE c.id = ? AND c.user_id = ?"
        " AND a.user_id = c.user_id AND a.kind NOT IN ('image', 'audio') AND NOT EXISTS"
        " (SELECT 1 FROM hidden_messages h WHERE h.message_id = m.id) ORDER BY a.id",
        (chat_id, user_id),
    )
    return [attachments.shown_row(row) for row in rows]
