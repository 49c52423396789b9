"""Chats that come from a file, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiosqlite

from app.store import chat_settings
from app.store.messages import NEXT_ID

_COLUMNS = (
    "parent_id",
    "role",
    "text",
    "status",
    "model",
    "error",
    "finish_reason",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "prefill_seconds",
    "decode_seconds",
    "first_token_seconds",
    "context_length",
    "settings",
    "created_at",
    "finished_at",
)


@dataclass(frozen=True, slots=True)
class ImportedChat:
    """A chat to be added under `id`, or another if that is taken.

    Each message is a dict of columns; `parent` is the place of the one before it in `messages`,
    and `leaf` the place of the last one shown.
    """

    id: str
    spare_id: str
    import_key: str
    title: str
    title_source: str
    model: str
    created_at: float
    updated_at: float
    pinned_at: float | None
    archived_at: float | None
    settings: str | None
    messages: Sequence[dict[str, Any]]
    leaf: int


async def add(
    connection: aiosqlite.Connection, user_id: int, chats: Sequence[ImportedChat]
) -> tuple[int, int]:
    """How many were new, and how many lie in the person's trash.

    The others were imported before, or are this person's own.
    """
    fates = [await _add_chat(connection, user_id, chat) for chat in chats]
    return fates.count("new"), fates.count("in the trash")


async def _add_chat(
    connection: aiosqlite.Connection, user_id: int, chat: ImportedChat
) -> Literal["new", "there", "in the trash"]:
    async with connection.execute(
        "SELECT user_id, id, deleted_at FROM chats"
        " WHERE id = ? OR (user_id = ? AND import_key = ?)",
        (chat.id, user_id, chat.import_key),
    ) as cursor:
        there = list(await cursor.fetchall())
    if own := [row for row in there if row["user_id"] == user_id]:
        is_trashed = all(row["deleted_at"] is not None for row in own)
        return "in the trash" if is_trashed else "there"
    chat_id = chat.spare_id if there else chat.id
    await connection.execute(
        "INSERT INTO chats (id, user_id, title, title_source, model, created_at, updated_at,"
        " pinned_at, archived_at, import_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            chat_id,
            user_id,
            chat.title,
            chat.title_source,
            chat.model,
            chat.created_at,
            chat.updated_at,
            chat.pinned_at,
            chat.archived_at,
            chat.import_key,
        ),
    )
    if chat.settings is not None:
        await chat_settings.put(connection, user_id, chat_id, chat.settings, chat.updated_at)
    first = await _next_message(connection)
    await connection.executemany(
        f"INSERT INTO messages (id, chat_id, {', '.join(_COLUMNS)})"  # noqa: S608 - own names
        f" VALUES ({', '.join('?' * (len(_COLUMNS) + 2))})",
        [_row(first, place, chat_id, message) for place, message in enumerate(chat.messages)],
    )
    await connection.execute(
        "UPDATE chats SET leaf_id = ? WHERE id = ? AND user_id = ?",
        (first + chat.leaf, chat_id, user_id),
    )
    return "new"


async def _next_message(connection: aiosqlite.Connection) -> int:
    async with connection.execute(f"SELECT {NEXT_ID}") as cursor:
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - this always has a row
    return int(row[0])


def _row(first: int, place: int, chat_id: str, message: dict[str, Any]) -> tuple[Any, ...]:
    parent = message.get("parent")
    values = message | {"parent_id": None if parent is None else first + parent}
    return (first + place, chat_id, *(values.get(name) for name in _COLUMNS))
