"""The table of tokens that were evaluated for each person, by day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.store.db import Database


async def of_day(db: Database, day: str) -> dict[int, int]:
    """By user id."""
    rows = await db.fetch_all("SELECT user_id, tokens FROM usage WHERE day = ?", (day,))
    return {int(row["user_id"]): int(row["tokens"]) for row in rows}


async def add(connection: aiosqlite.Connection, user_id: int, day: str, tokens: int) -> None:
    """Earlier days are forgotten with it. Nothing happens for somebody who has left meanwhile."""
    await connection.execute("DELETE FROM usage WHERE day < ?", (day,))
    await connection.execute(
        "INSERT INTO usage (user_id, day, tokens)"
        " SELECT id, ?, ? FROM users WHERE id = ?"
        " ON CONFLICT (user_id, day) DO UPDATE SET tokens = tokens + excluded.tokens",
        (day, tokens, user_id),
    )
