"""Tables of chats: their lists, their settings, and the links by which others read them.

Every statement names the user, so nobody reaches another's.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import aiosqlite

from app.errors import ChatBusy, ChatNotFound

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation. Times in seconds since 1970; `leaf_id` is the last message of its path."""

    id: str
    user_id: int
    title: str
    model: str
    leaf_id: int | None
    created_at: float
    updated_at: float
    deleted_at: float | None
    title_source: Literal["words", "model", "person"] = "words"
    pinned_at: float | None = None
    archived_at: float | None = None
    is_unread: int = 0
    folder_id: int | None = None


_NAMES = tuple(field.name for field in fields(Chat))


def chat_of(row: sqlite3.Row) -> Chat:
    """The chat in a whole row of the table."""
    return Chat(**{name: row[name] for name in _NAMES})


async def get(db: Database, user_id: int, chat_id: str) -> Chat | None:
    """The chat, also when it is in the trash."""
    row = await db.fetch_one("SELECT * FROM chats WHERE id = ? AND user_id = ?", (chat_id, user_id))
    return None if row is None else chat_of(row)


async def owner(db: Database, chat_id: str) -> int | None:
    """Return whose chat has this id, if any has. Only for refusing ids that are taken."""
    row = await db.fetch_one("SELECT user_id FROM chats WHERE id = ?", (chat_id,))
    return None if row is None else int(row["user_id"])


async def create(
    connection: aiosqlite.Connection, chat_id: str, user_id: int, title: str, model: str, now: float
) -> None:
    """Create a chat. Nothing happens when it is there already."""
    await connection.execute(
        "INSERT INTO chats (id, user_id, title, model, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (chat_id, user_id, title, model, now, now),
    )


async def leaf_below_limit(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, limit: int
) -> int | None:
    """The message to go on from. Raises ChatBusy when `limit` answers are still to be written."""
    async with connection.execute(
        "SELECT leaf_id, (SELECT count(*) FROM messages m"
        " WHERE m.chat_id = chats.id AND m.status = 'queued') AS running"
        " FROM chats WHERE id = ? AND user_id = ?",
        (chat_id, user_id),
    ) as cursor:
        row = await cursor.fetchone()
    if row is None:
        raise ChatNotFound
    if row["running"] >= limit:
        raise ChatBusy(f"{limit} messages in this chat are waiting for answers. Wait for one.")
    leaf_id: int | None = row["leaf_id"]
    return leaf_id


async def leaf_if_idle(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, *, is_idle: bool = True
) -> int | None:
    """Return where the chat's path ends, for a change of its branches.

    is_idle: nothing of it may be on its way to an answer. Raises ChatNotFound or ChatBusy.
    """
    async with connection.execute(
        "SELECT leaf_id, deleted_at, EXISTS (SELECT 1 FROM messages m"
        " WHERE m.chat_id = chats.id AND m.status = 'queued') AS is_running"
        " FROM chats WHERE id = ? AND user_id = ?",
        (chat_id, user_id),
    ) as cursor:
        row = await cursor.fetchone()
    if row is None:
        raise ChatNotFound
    if row["deleted_at"] is not None:
        raise ChatBusy("This chat is in the trash. Restore it first.")
    if is_idle and row["is_running"]:
        raise ChatBusy("An answer is being written in this chat. Wait for it or stop it.")
    leaf_id: int | None = row["leaf_id"]
    return leaf_id


async def set_leaf(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, leaf_id: int | None
) -> None:
    """Set where the chat's path ends."""
    await connection.execute(
        "UPDATE chats SET leaf_id = ? WHERE id = ? AND user_id = ?", (leaf_id, chat_id, user_id)
    )


async def rewind(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, from_id: int, to_id: int | None
) -> None:
    """End the chat with `to_id`, when its last message was `from_id`, which is gone."""
    await connection.execute(
        "UPDATE chats SET leaf_id = ? WHERE id = ? AND user_id = ? AND leaf_id = ?",
        (to_id, chat_id, user_id, from_id),
    )


async def advance(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    leaf_id: int,
    model: str,
    now: float,
) -> None:
    """Set a new last message: the chat moves to the top, out of the archive and the trash."""
    await connection.execute(
        "UPDATE chats SET leaf_id = ?, model = ?, updated_at = ?, archived_at = NULL,"
        " deleted_at = NULL WHERE id = ? AND user_id = ?",
        (leaf_id, model, now, chat_id, user_id),
    )


async def choose_model(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, model: str
) -> None:
    """Choose the model of the chat's next answer, until another is chosen."""
    await connection.execute(
        "UPDATE chats SET model = ? WHERE id = ? AND user_id = ?", (model, chat_id, user_id)
    )


async def rename(connection: aiosqlite.Connection, user_id: int, chat_id: str, title: str) -> bool:
    """Return whether there was such a chat."""
    cursor = await connection.execute(
        "UPDATE chats SET title = ?, title_source = 'person' WHERE id = ? AND user_id = ?",
        (title, chat_id, user_id),
    )
    return cursor.rowcount > 0


async def set_generated_title(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, title: str
) -> bool:
    """Set a title by the model, unless a user has given one. Return whether it is new."""
    cursor = await connection.execute(
        "UPDATE chats SET title = ?, title_source = 'model'"
        " WHERE id = ? AND user_id = ? AND title_source = 'words'",
        (title, chat_id, user_id),
    )
    return cursor.rowcount > 0


StateColumn = Literal["pinned_at", "archived_at", "deleted_at"]


async def set_timestamp(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    place: StateColumn,
    when: float | None,
) -> bool:
    """Pin, archive or delete (a time), or undo that (None). Return whether the chat exists."""
    cursor = await connection.execute(
        f"UPDATE chats SET {place} = ? WHERE id = ? AND user_id = ?",  # noqa: S608 - three words
        (when, chat_id, user_id),
    )
    if place == "deleted_at" and when is not None and cursor.rowcount:
        # Whoever brings it back shares it anew, if that is meant.
        await connection.execute("DELETE FROM shares WHERE chat_id = ?", (chat_id,))
    return cursor.rowcount > 0


async def set_unread(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, *, is_unread: bool
) -> None:
    await connection.execute(
        "UPDATE chats SET is_unread = ? WHERE id = ? AND user_id = ?",
        (int(is_unread), chat_id, user_id),
    )


async def expired(db: Database, deleted_before: float) -> list[tuple[int, str]]:
    """User and id of the chats that went into the trash before then."""
    rows = await db.fetch_all(
        "SELECT user_id, id FROM chats WHERE deleted_at < ?", (deleted_before,)
    )
    return [(row["user_id"], row["id"]) for row in rows]


async def all_chat_ids(db: Database) -> list[str]:
    """Return the ids of all chats of all users."""
    return [row["id"] for row in await db.fetch_all("SELECT id FROM chats")]


# Lists of chats, a page at a time. A page begins after a row, not after a number of rows, so none
# is skipped or shown twice however the list changes meanwhile.


ListName = Literal["listed", "loose", "pinned", "archived", "trashed", "folder"]
_LISTS: dict[ListName, tuple[str, str]] = {
    "listed": (
        "updated_at",
        "deleted_at IS NULL AND archived_at IS NULL AND pinned_at IS NULL",
    ),
    "loose": (
        "updated_at",
        "deleted_at IS NULL AND archived_at IS NULL AND pinned_at IS NULL AND folder_id IS NULL",
    ),
    "pinned": (
        "pinned_at",
        "deleted_at IS NULL AND archived_at IS NULL AND pinned_at IS NOT NULL",
    ),
    "archived": ("archived_at", "deleted_at IS NULL AND archived_at IS NOT NULL"),
    "trashed": ("deleted_at", "deleted_at IS NOT NULL"),
    "folder": ("updated_at", "deleted_at IS NULL AND archived_at IS NULL"),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """A row of a list: its time and its id. As text it fits into an address."""

    at: float
    chat_id: str

    def __str__(self) -> str:
        return f"{self.at!r}_{self.chat_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return None for what is no cursor."""
        at, _, chat_id = text.partition("_")
        try:
            time = float(at)
        except ValueError:
            return None
        return cls(time, chat_id) if chat_id and math.isfinite(time) else None


async def page(
    db: Database,
    user_id: int,
    name: ListName,
    limit: int,
    after: Cursor | None = None,
    folder_id: int | None = None,
) -> tuple[list[Chat], Cursor | None]:
    """Return at most `limit` chats, newest first, and where to go on, if there is more.

    folder_id: only those of this folder.
    """
    column, condition = _LISTS[name]
    values: list[object] = [user_id]
    beyond = ""
    if folder_id is not None:
        beyond = " AND folder_id = ?"
        values.append(folder_id)
    if after is not None:
        beyond += f" AND ({column}, id) < (?, ?)"
        values += [after.at, after.chat_id]
    rows = await db.fetch_all(
        f"SELECT * FROM chats WHERE user_id = ? AND {condition}{beyond}"  # noqa: S608
        f" ORDER BY {column} DESC, id DESC LIMIT ?",
        (*values, limit + 1),
    )
    chats = [chat_of(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return chats, None
    return chats, Cursor(rows[limit - 1][column], chats[-1].id)


async def list_until(db: Database, user_id: int, last: Cursor, limit: int) -> list[Chat]:
    """The loose chats from the newest to `last`, which may have gone from there."""
    _, condition = _LISTS["loose"]
    rows = await db.fetch_all(
        f"SELECT * FROM chats WHERE user_id = ? AND {condition}"  # noqa: S608
        " AND (updated_at, id) >= (?, ?) ORDER BY updated_at DESC, id DESC LIMIT ?",
        (user_id, last.at, last.chat_id, limit),
    )
    return [chat_of(row) for row in rows]


async def newer_than(db: Database, user_id: int, place: Cursor) -> Chat | None:
    """The loose chat right before a place in the list."""
    _, condition = _LISTS["loose"]
    row = await db.fetch_one(
        f"SELECT * FROM chats WHERE user_id = ? AND {condition}"  # noqa: S608
        " AND (updated_at, id) > (?, ?) ORDER BY updated_at, id LIMIT 1",
        (user_id, place.at, place.chat_id),
    )
    return None if row is None else chat_of(row)


async def get_many(db: Database, user_id: int, chat_ids: set[str]) -> list[Chat]:
    """The chats of these ids, wherever they are."""
    marks = ", ".join("?" * len(chat_ids))
    rows = await db.fetch_all(
        f"SELECT * FROM chats WHERE user_id = ? AND id IN ({marks})",  # noqa: S608
        (user_id, *chat_ids),
    )
    return [chat_of(row) for row in rows]


async def list_ids(db: Database, user_id: int) -> list[str]:
    """Return all chats but those in the trash, oldest first."""
    rows = await db.fetch_all(
        "SELECT id FROM chats WHERE user_id = ? AND deleted_at IS NULL ORDER BY created_at, id",
        (user_id,),
    )
    return [row["id"] for row in rows]


# Settings that users chose for single chats; a chat need not exist yet.


async def get_settings(db: Database, user_id: int, chat_id: str) -> str | None:
    """The JSON that `put_settings` was given."""
    row = await db.fetch_one(
        "SELECT settings FROM chat_settings WHERE chat_id = ? AND user_id = ?", (chat_id, user_id)
    )
    return None if row is None else str(row["settings"])


async def put_settings(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, settings: str, now: float
) -> None:
    await connection.execute(
        "INSERT INTO chat_settings (chat_id, user_id, settings, updated_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (chat_id) DO UPDATE SET settings = excluded.settings,"
        " updated_at = excluded.updated_at WHERE user_id = excluded.user_id",
        (chat_id, user_id, settings, now),
    )


async def get_tools(db: Database, user_id: int, chat_id: str) -> str | None:
    """The JSON that `put_tools` was given."""
    row = await db.fetch_one(
        "SELECT tools FROM chat_settings WHERE chat_id = ? AND user_id = ?", (chat_id, user_id)
    )
    return None if row is None else str(row["tools"])


async def put_tools(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, tools: str, now: float
) -> None:
    """Save which tools are on in a chat, beside its settings."""
    await connection.execute(
        "INSERT INTO chat_settings (chat_id, user_id, settings, tools, updated_at)"
        " VALUES (?, ?, '{}', ?, ?) ON CONFLICT (chat_id) DO UPDATE SET tools = excluded.tools,"
        " updated_at = excluded.updated_at WHERE user_id = excluded.user_id",
        (chat_id, user_id, tools, now),
    )


async def trim_unused_settings(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, most: int
) -> None:
    """Keep the newest of what a user has chosen for chats that never began, where this is one."""
    await connection.execute(
        "DELETE FROM chat_settings WHERE user_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM chats WHERE id = ?) AND chat_id IN"
        " (SELECT s.chat_id FROM chat_settings s WHERE s.user_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM chats WHERE chats.id = s.chat_id)"
        " ORDER BY s.updated_at DESC LIMIT -1 OFFSET ?)",
        (user_id, chat_id, user_id, most),
    )


async def purge_unused_settings(connection: aiosqlite.Connection, chosen_before: float) -> None:
    """Drop what was chosen before then for chats that never began."""
    await connection.execute(
        "DELETE FROM chat_settings WHERE updated_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM chats WHERE chats.id = chat_settings.chat_id)",
        (chosen_before,),
    )


# Links by which users let others read a chat, known only by their hashes.


async def put_share(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, token_hash: bytes, now: float
) -> bool:
    """Replace the link. Return whether this user has such a chat outside the trash."""
    cursor = await connection.execute(
        "INSERT INTO shares (chat_id, token_hash, created_at)"
        " SELECT id, ?, ? FROM chats WHERE id = ? AND user_id = ? AND deleted_at IS NULL"
        " ON CONFLICT (chat_id) DO UPDATE SET"
        " token_hash = excluded.token_hash, created_at = excluded.created_at",
        (token_hash, now, chat_id, user_id),
    )
    return cursor.rowcount > 0


async def count_shares(connection: aiosqlite.Connection, user_id: int, besides: str) -> int:
    """Count the links of a user, but for that of one chat."""
    async with connection.execute(
        "SELECT count(*) FROM shares s JOIN chats c ON c.id = s.chat_id"
        " WHERE c.user_id = ? AND c.id != ?",
        (user_id, besides),
    ) as cursor:
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def end_share(connection: aiosqlite.Connection, user_id: int, chat_id: str) -> bool:
    """Return whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM shares WHERE chat_id = (SELECT id FROM chats WHERE id = ? AND user_id = ?)",
        (chat_id, user_id),
    )
    return cursor.rowcount > 0


async def shared_at(db: Database, user_id: int, chat_id: str) -> float | None:
    """Return when this chat was shared; None when it is not."""
    row = await db.fetch_one(
        "SELECT s.created_at FROM shares s JOIN chats c ON c.id = s.chat_id"
        " WHERE s.chat_id = ? AND c.user_id = ?",
        (chat_id, user_id),
    )
    return None if row is None else float(row["created_at"])


async def get_shared(db: Database, token_hash: bytes) -> Chat | None:
    """Find the chat that a link shows; none of a user who is disabled or being deleted."""
    row = await db.fetch_one(
        "SELECT c.* FROM shares s JOIN chats c ON c.id = s.chat_id JOIN users u ON u.id = c.user_id"
        " WHERE s.token_hash = ? AND c.deleted_at IS NULL AND u.disabled_at IS NULL"
        " AND u.id NOT IN (SELECT user_id FROM leavers)",
        (token_hash,),
    )
    return None if row is None else chat_of(row)
