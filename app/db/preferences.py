"""Table of what a person chose for all their chats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database


async def get_about(db: Database, user_id: int) -> str:
    """Return what goes into the system prompt of this user's new chats."""
    row = await db.fetch_one("SELECT about FROM preferences WHERE user_id = ?", (user_id,))
    return "" if row is None else str(row["about"])


async def put_about(connection: aiosqlite.Connection, user_id: int, about: str, now: float) -> None:
    await connection.execute(
        "INSERT INTO preferences (user_id, about, updated_at) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET about = excluded.about,"
        " updated_at = excluded.updated_at",
        (user_id, about, now),
    )


async def add_about(connection: aiosqlite.Connection, user_id: int, about: str, now: float) -> bool:
    """Keep this where the user has said nothing of themselves yet; return whether it was kept."""
    cursor = await connection.execute(
        "INSERT INTO preferences (user_id, about, updated_at) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET about = excluded.about,"
        " updated_at = excluded.updated_at WHERE preferences.about = ''",
        (user_id, about, now),
    )
    return cursor.rowcount > 0
