"""The table of chats. Every statement names the user, so nobody reaches another's."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import aiosqlite

from app.errors import ChatBusy, ChatNotFound

if TYPE_CHECKING:
    from app.store.db import Database


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


def _chat(row: sqlite3.Row) -> Chat:
    return Chat(**{key: row[key] for key in row.keys()})  # noqa: SIM118 - a Row iterates its values


async def find(db: Database, user_id: int, chat_id: str) -> Chat | None:
    """The chat, also when it is in the trash."""
    row = await db.fetch_one("SELECT * FROM chats WHERE id = ? AND user_id = ?", (chat_id, user_id))
    return None if row is None else _chat(row)


async def owner(db: Database, chat_id: str) -> int | None:
    """Whose chat has this id, if any has. Only for refusing ids that are taken."""
    row = await db.fetch_one("SELECT user_id FROM chats WHERE id = ?", (chat_id,))
    return None if row is None else int(row["user_id"])


async def recent(db: Database, user_id: int, limit: int) -> list[Chat]:
    """Newest first, without the trash."""
    rows = await db.fetch_all(
        "SELECT * FROM chats WHERE user_id = ? AND deleted_at IS NULL"
        " ORDER BY updated_at DESC, id LIMIT ?",
        (user_id, limit),
    )
    return [_chat(row) for row in rows]


async def create(
    connection: aiosqlite.Connection, chat_id: str, user_id: int, title: str, model: str, now: float
) -> None:
    """Does nothing when the chat is there already."""
    await connection.execute(
        "INSERT INTO chats (id, user_id, title, model, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (chat_id, user_id, title, model, now, now),
    )


async def leaf_with_room(
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
        raise ChatNotFound("There is no such chat.")
    if row["running"] >= limit:
        raise ChatBusy(f"{limit} messages wait for an answer in this chat. Wait for one, please.")
    leaf_id: int | None = row["leaf_id"]
    return leaf_id


async def step_back(
    connection: aiosqlite.Connection, chat_id: str, from_id: int, to_id: int | None
) -> None:
    """The chat's last message was `from_id` and is gone: it ends with `to_id` now."""
    await connection.execute(
        "UPDATE chats SET leaf_id = ? WHERE id = ? AND leaf_id = ?", (to_id, chat_id, from_id)
    )


async def advance(
    connection: aiosqlite.Connection, chat_id: str, leaf_id: int, model: str, now: float
) -> None:
    """A new last message: the chat moves to the top, and out of the trash."""
    await connection.execute(
        "UPDATE chats SET leaf_id = ?, model = ?, updated_at = ?, deleted_at = NULL WHERE id = ?",
        (leaf_id, model, now, chat_id),
    )


async def choose_model(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, model: str
) -> None:
    """The chat's next answer is to be by this model, until another is chosen."""
    await connection.execute(
        "UPDATE chats SET model = ? WHERE id = ? AND user_id = ?", (model, chat_id, user_id)
    )


async def rename(connection: aiosqlite.Connection, user_id: int, chat_id: str, title: str) -> bool:
    """Whether there was such a chat."""
    cursor = await connection.execute(
        "UPDATE chats SET title = ?, title_source = 'person' WHERE id = ? AND user_id = ?",
        (title, chat_id, user_id),
    )
    return cursor.rowcount > 0


async def give_title(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, title: str
) -> bool:
    """A title by the model, unless a person has given one. Whether it is new."""
    cursor = await connection.execute(
        "UPDATE chats SET title = ?, title_source = 'model'"
        " WHERE id = ? AND user_id = ? AND title_source = 'words'",
        (title, chat_id, user_id),
    )
    return cursor.rowcount > 0


async def set_deleted(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, deleted_at: float | None
) -> bool:
    """Into the trash (a time) or out of it (None). Whether there was such a chat."""
    cursor = await connection.execute(
        "UPDATE chats SET deleted_at = ? WHERE id = ? AND user_id = ?",
        (deleted_at, chat_id, user_id),
    )
    return cursor.rowcount > 0


async def expired(db: Database, deleted_before: float) -> list[str]:
    """The ids of the chats that went into the trash before then."""
    rows = await db.fetch_all(
        "SELECT id FROM chats WHERE deleted_at IS NOT NULL AND deleted_at < ?", (deleted_before,)
    )
    return [row["id"] for row in rows]


async def purge(connection: aiosqlite.Connection, deleted_before: float) -> int:
    """Remove for good what went into the trash before then. How many chats that were."""
    cursor = await connection.execute(
        "DELETE FROM chats WHERE deleted_at IS NOT NULL AND deleted_at < ?", (deleted_before,)
    )
    return cursor.rowcount
