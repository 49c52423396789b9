"""The table of attachments: files of messages, and of those that are still being written.

Every statement names the user whose files they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database

MAX_UNSENT: Final = 40
"""Files of a user that belong to no message yet; older ones are deleted."""
_UNSENT: Final = "message_id IS NULL AND folder_id IS NULL"
_SHOWN: Final = (
    "id, name, kind, media_type, size, tokens, counted_by, digest, width, height, alt, gives_text,"
    " pages, note"
)
_COPIED: Final = (
    "user_id, place, name, kind, media_type, size, digest, text, tokens, counted_by, width, height,"
    " alt, gives_text, pages, note, document_id"
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file without its content. size: bytes; tokens: how many a model is given of it; counted_by:
    the model whose tokenizer counted them, empty for an estimate; digest: SHA-256 of its bytes.

    Of a picture: width, height: pixels; alt: what it shows; gives_text: whether a model that sees
    no pictures is given the text in it. Of a sound that is so for what is said in it. Of a
    document: pages: how many, 0 when nobody knows; note: what of it is not in its text.
    """

    id: int
    name: str
    kind: str
    media_type: str
    size: int
    tokens: int
    counted_by: str = ""
    digest: str = ""
    width: int = 0
    height: int = 0
    alt: str = ""
    gives_text: bool = True
    pages: int = 0
    note: str = ""

    @property
    def is_picture(self) -> bool:
        return self.kind == "image"

    @property
    def is_sound(self) -> bool:
        return self.kind == "audio"

    @property
    def is_media(self) -> bool:
        """Tell whether it is a file by its digest, and no text."""
        return self.is_picture or self.is_sound

    @property
    def seconds(self) -> int:
        """Return how long a sound is, whose file has 32,000 bytes a second."""
        return round(self.size / 32_000) if self.is_sound else 0

    @property
    def is_document(self) -> bool:
        return self.kind == "document"


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """A file that is to be saved. text: what a model is given; digest: SHA-256 of its bytes; of a
    picture or document the rest, as in `Attachment`."""

    name: str
    kind: str
    media_type: str
    size: int
    digest: str
    text: str
    tokens: int
    width: int = 0
    height: int = 0
    alt: str = ""
    gives_text: bool = True
    pages: int = 0
    note: str = ""


def shown_row(row: sqlite3.Row) -> Attachment:
    """The file of a row that has these columns."""
    values = {name: row[name] for name in Attachment.__slots__}
    return Attachment(**values | {"gives_text": bool(row["gives_text"])})


_ADD = """
INSERT INTO attachments
    (user_id, message_id, place, name, kind, media_type, size, digest, text, tokens, created_at,
     width, height, alt, gives_text, pages, note, folder_id)
VALUES (:user, :message, :place, :name, :kind, :media_type, :size, :digest, :text, :tokens, :now,
    :width, :height, :alt, :gives_text, :pages, :note, :folder)
"""


async def add(
    connection: aiosqlite.Connection,
    user_id: int,
    file: NewAttachment,
    now: float,
    message_id: int | None = None,
    place: int = 0,
    folder_id: int | None = None,
) -> int:
    """Add a file and return its id; without a message or a folder it is unsent."""
    values = {name: getattr(file, name) for name in NewAttachment.__slots__}
    values |= {"user": user_id, "message": message_id, "place": place, "now": now}
    values |= {"folder": folder_id}
    cursor = await connection.execute(_ADD, values)
    assert cursor.lastrowid is not None  # noqa: S101 - it was inserted
    return cursor.lastrowid


async def trim_unsent(connection: aiosqlite.Connection, user_id: int) -> None:
    """Delete the oldest unsent files beyond MAX_UNSENT."""
    await connection.execute(
        f"DELETE FROM attachments WHERE user_id = ?1 AND {_UNSENT} AND id NOT IN (SELECT id"  # noqa: S608
        f" FROM attachments WHERE user_id = ?1 AND {_UNSENT} ORDER BY id DESC LIMIT ?2)",
        (user_id, MAX_UNSENT),
    )


async def remove_unsent(connection: aiosqlite.Connection, user_id: int, attachment_id: int) -> bool:
    """Delete a file that is not sent. Whether there was one."""
    cursor = await connection.execute(
        f"DELETE FROM attachments WHERE id = ? AND user_id = ? AND {_UNSENT}",  # noqa: S608
        (attachment_id, user_id),
    )
    return cursor.rowcount > 0


async def purge_unsent(connection: aiosqlite.Connection, before: float) -> None:
    """Delete what nobody sent since then, of all users."""
    await connection.execute(
        f"DELETE FROM attachments WHERE {_UNSENT} AND created_at < ?",  # noqa: S608
        (before,),
    )


async def names(connection: aiosqlite.Connection, user_id: int, ids: Iterable[int]) -> str:
    """The names of these files, as a title."""
    rows = await connection.execute_fetchall(
        f"SELECT name FROM attachments WHERE id IN ({_list(ids)}) AND user_id = ? ORDER BY id",  # noqa: S608
        (user_id,),
    )
    return ", ".join(row["name"] for row in rows)


async def attach(
    connection: aiosqlite.Connection, user_id: int, ids: Sequence[int], message_id: int
) -> bool:
    """Give unsent files to a message, in this order. False when one of them is gone."""
    for place, one in enumerate(ids):
        cursor = await connection.execute(
            "UPDATE attachments SET message_id = ?, place = ?"  # noqa: S608
            f" WHERE id = ? AND user_id = ? AND {_UNSENT}",
            (message_id, place, one, user_id),
        )
        if cursor.rowcount != 1:
            return False
    return True


async def describe(
    connection: aiosqlite.Connection, user_id: int, attachment_id: int, alt: str
) -> bool:
    """Set what a picture shows. Whether there is such a picture."""
    cursor = await connection.execute(
        "UPDATE attachments SET alt = ? WHERE id = ? AND user_id = ? AND kind = 'image'",
        (alt, attachment_id, user_id),
    )
    return cursor.rowcount > 0


async def set_picture_text(
    connection: aiosqlite.Connection, user_id: int, attachment_id: int, text: str, *, gives: bool
) -> bool:
    """Set the text in a picture or sound that is not sent, and whether a model is given it.
    Whether there is such a file."""
    cursor = await connection.execute(
        "UPDATE attachments SET text = ?, gives_text = ?"
        " WHERE id = ? AND user_id = ? AND kind IN ('image', 'audio') AND message_id IS NULL",
        (text, gives, attachment_id, user_id),
    )
    return cursor.rowcount > 0


async def set_tokens(
    connection: aiosqlite.Connection, user_id: int, attachment_id: int, tokens: int, by: str
) -> None:
    """Keep how many tokens a file has for this model."""
    await connection.execute(
        "UPDATE attachments SET tokens = ?, counted_by = ? WHERE id = ? AND user_id = ?",
        (tokens, by, attachment_id, user_id),
    )


async def detach(connection: aiosqlite.Connection, user_id: int, message_id: int) -> None:
    """Take the files of a message back, which is going away: they are unsent again."""
    await connection.execute(
        "UPDATE attachments SET message_id = NULL WHERE message_id = ? AND user_id = ?",
        (message_id, user_id),
    )


async def copy(
    connection: aiosqlite.Connection,
    user_id: int,
    from_id: int,
    to_id: int,
    now: float,
    kept: Iterable[int] | None = None,
) -> None:
    """Give another message the same files, or those of them that are to be kept."""
    only = "" if kept is None else f" AND id IN ({_list(kept)})"
    await connection.execute(
        f"INSERT INTO attachments ({_COPIED}, message_id, created_at)"  # noqa: S608
        f" SELECT {_COPIED}, ?, ? FROM attachments WHERE message_id = ? AND user_id = ?{only}"
        " ORDER BY place",
        (to_id, now, from_id, user_id),
    )


async def get(db: Database, user_id: int, attachment_id: int) -> Attachment | None:
    found = await get_many(db, user_id, [attachment_id])
    return found[0] if found else None


async def get_many(db: Database, user_id: int, ids: Iterable[int]) -> list[Attachment]:
    """Find those of these files that are the user's, in the order of their ids."""
    rows = await db.fetch_all(
        f"SELECT {_SHOWN} FROM attachments WHERE id IN ({_list(ids)}) AND user_id = ? ORDER BY id",  # noqa: S608
        (user_id,),
    )
    return [shown_row(row) for row in rows]


async def unsent(db: Database, user_id: int, ids: Iterable[int] | None = None) -> list[Attachment]:
    """Find the user's files that are not sent, all or some, in the order of their ids."""
    some = "1" if ids is None else f"id IN ({_list(ids)})"
    rows = await db.fetch_all(
        f"SELECT {_SHOWN} FROM attachments WHERE {some} AND user_id = ?"  # noqa: S608
        f" AND {_UNSENT} ORDER BY id",
        (user_id,),
    )
    return [shown_row(row) for row in rows]


async def by_message(
    db: Database, user_id: int, message_ids: Iterable[int]
) -> dict[int, tuple[Attachment, ...]]:
    """The files of these messages, without their content."""
    rows = await db.fetch_all(
        f"SELECT message_id, {_SHOWN} FROM attachments WHERE message_id IN ({_list(message_ids)})"  # noqa: S608
        " AND user_id = ? ORDER BY message_id, place",
        (user_id,),
    )
    found: dict[int, tuple[Attachment, ...]] = {}
    for row in rows:
        found[row["message_id"]] = (*found.get(row["message_id"], ()), shown_row(row))
    return found


async def texts(db: Database, user_id: int, ids: Iterable[int]) -> dict[int, str]:
    """Map ids of files to what models are given of them."""
    rows = await db.fetch_all(
        f"SELECT id, text FROM attachments WHERE id IN ({_list(ids)}) AND user_id = ?",  # noqa: S608
        (user_id,),
    )
    return {row["id"]: row["text"] for row in rows}


async def chars(db: Database, user_id: int, ids: Iterable[int]) -> int:
    """Count the characters that models are given of these files."""
    row = await db.fetch_one(
        f"SELECT coalesce(sum(length(text)), 0) AS chars FROM attachments"  # noqa: S608
        f" WHERE id IN ({_list(ids)}) AND user_id = ?",
        (user_id,),
    )
    return 0 if row is None else int(row["chars"])


async def find_shown(
    db: Database, user_id: int, chat_id: str, attachment_id: int
) -> Attachment | None:
    """A file of a message of this chat that was not deleted."""
    row = await db.fetch_one(
        f"SELECT {', '.join(f'a.{name}' for name in Attachment.__slots__)} FROM attachments a"  # noqa: S608
        " JOIN messages m ON m.id = a.message_id JOIN chats c ON c.id = m.chat_id"
        " WHERE a.id = ? AND a.user_id = ? AND c.id = ? AND c.user_id = a.user_id"
        " AND NOT EXISTS (SELECT 1 FROM hidden_messages h WHERE h.message_id = m.id)",
        (attachment_id, user_id, chat_id),
    )
    return None if row is None else shown_row(row)


def _list(ids: Iterable[int]) -> str:
    return ", ".join(f"{int(one)}" for one in ids)
