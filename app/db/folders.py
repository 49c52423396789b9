"""The table of folders, in which users keep chats; a chat is in one or in none.

Every statement names the user whose folders and chats they are.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiosqlite

from app.db.chats import Chat, chat_of

if TYPE_CHECKING:
    from app.db.connection import Database

_SHOWN: Final = """
SELECT f.*, (SELECT count(*) FROM chats c WHERE c.folder_id = f.id AND c.user_id = f.user_id
    AND c.deleted_at IS NULL AND c.archived_at IS NULL) AS chats
FROM folders f WHERE f.user_id = ?
"""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. instructions, model: what its chats begin with; chats: how many are in it, without
    archive and trash."""

    id: int
    name: str
    instructions: str
    model: str
    is_folded: int
    created_at: float
    chats: int


def _folder(row: sqlite3.Row) -> Folder:
    return Folder(*(row[name] for name in Folder.__slots__))


async def list_all(db: Database, user_id: int) -> list[Folder]:
    """List a user's folders by name."""
    rows = await db.fetch_all(f"{_SHOWN} ORDER BY f.name COLLATE NOCASE, f.id", (user_id,))
    return [_folder(row) for row in rows]


async def get(db: Database, user_id: int, folder_id: int) -> Folder | None:
    rows = await db.fetch_all(f"{_SHOWN} AND f.id = ?", (user_id, folder_id))
    return _folder(rows[0]) if rows else None


async def add(connection: aiosqlite.Connection, user_id: int, name: str, now: float) -> int:
    """Add a folder and return its id."""
    cursor = await connection.execute(
        "INSERT INTO folders (user_id, name, created_at) VALUES (?, ?, ?)", (user_id, name, now)
    )
    assert cursor.lastrowid is not None  # noqa: S101 - it was inserted
    return cursor.lastrowid


async def change(
    connection: aiosqlite.Connection,
    user_id: int,
    folder_id: int,
    name: str,
    instructions: str,
    model: str,
) -> bool:
    """Return whether there was such a folder."""
    cursor = await connection.execute(
        "UPDATE folders SET name = ?, instructions = ?, model = ? WHERE id = ? AND user_id = ?",
        (name, instructions, model, folder_id, user_id),
    )
    return cursor.rowcount > 0


async def fold(
    connection: aiosqlite.Connection, user_id: int, folder_id: int, *, is_folded: bool
) -> None:
    """Show the folder's chats in the list, or not."""
    await connection.execute(
        "UPDATE folders SET is_folded = ? WHERE id = ? AND user_id = ?",
        (int(is_folded), folder_id, user_id),
    )


async def remove(connection: aiosqlite.Connection, user_id: int, folder_id: int) -> bool:
    """Delete a folder; its chats stay, in none. Return whether there was such a folder."""
    cursor = await connection.execute(
        "DELETE FROM folders WHERE id = ? AND user_id = ?", (folder_id, user_id)
    )
    return cursor.rowcount > 0


async def move(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, folder_id: int | None
) -> bool:
    """Put a chat into a folder or into none. Return whether both are the user's."""
    cursor = await connection.execute(
        "UPDATE chats SET folder_id = ?3 WHERE id = ?2 AND user_id = ?1 AND (?3 IS NULL"
        " OR EXISTS (SELECT 1 FROM folders WHERE id = ?3 AND user_id = ?1))",
        (user_id, chat_id, folder_id),
    )
    return cursor.rowcount > 0


async def chats_in(db: Database, user_id: int, folder_id: int, limit: int) -> list[Chat]:
    """List the chats of a folder, newest first, without those that are pinned or put away."""
    rows = await db.fetch_all(
        "SELECT * FROM chats WHERE user_id = ? AND folder_id = ? AND deleted_at IS NULL"
        " AND archived_at IS NULL AND pinned_at IS NULL ORDER BY updated_at DESC, id DESC LIMIT ?",
        (user_id, folder_id, limit),
    )
    return [chat_of(row) for row in rows]


async def of_chat(db: Database, user_id: int, chat_id: str, new_in: int | None) -> Folder | None:
    """Find the folder of a chat; `new_in`: of one that is yet to begin."""
    row = await db.fetch_one(
        "SELECT folder_id FROM chats WHERE id = ? AND user_id = ?", (chat_id, user_id)
    )
    folder_id = new_in if row is None else row["folder_id"]
    return None if folder_id is None else await get(db, user_id, folder_id)


async def deliver(connection: aiosqlite.Connection, holder: int) -> None:
    """Hand the folders of a whole import to its user; those of a name that is there are one."""
    rows = await connection.execute_fetchall(
        "SELECT f.id, u.holds_for AS user,"
        " (SELECT o.id FROM folders o WHERE o.user_id = u.holds_for"
        " AND o.name = f.name ORDER BY o.id LIMIT 1) AS same FROM folders f"
        " JOIN users u ON u.id = f.user_id WHERE f.user_id = ?",
        (holder,),
    )
    for row in rows:
        if row["same"] is None:
            await connection.execute(
                "UPDATE folders SET user_id = ? WHERE id = ?", (row["user"], row["id"])
            )
        else:
            await connection.execute(
                "UPDATE chats SET folder_id = ? WHERE folder_id = ?", (row["same"], row["id"])
            )
            await connection.execute("DELETE FROM folders WHERE id = ?", (row["id"],))


async def named(
    connection: aiosqlite.Connection,
    user_id: int,
    name: str,
    instructions: str,
    model: str,
    now: float,
) -> int:
    """Return a folder of this name, which is added where it is not there."""
    rows = list(
        await connection.execute_fetchall(
            "SELECT id FROM folders WHERE user_id = ? AND name = ? LIMIT 1", (user_id, name)
        )
    )
    if rows:
        return int(rows[0]["id"])
    added = await add(connection, user_id, name, now)
    await change(connection, user_id, added, name, instructions, model)
    return added
