"""The table of what people chose for single chats; a chat need not exist yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.store.db import Database


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


async def purge_unused_settings(connection: aiosqlite.Connection, chosen_before: float) -> None:
    """Drop what was chosen before then for chats that never began."""
    await connection.execute(
        "DELETE FROM chat_settings WHERE updated_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM chats WHERE chats.id = chat_settings.chat_id)",
        (chosen_before,),
    )
