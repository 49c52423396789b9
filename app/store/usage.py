"""The table of tokens that were evaluated for each person, by day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiosqlite

if TYPE_CHECKING:
    from app.store.db import Database


KEPT_DAYS: Final = 8
"""Days of which the newest are kept: a clock that was wrong comes back to one of them."""


async def by_day(db: Database) -> dict[str, dict[int, int]]:
    """For each day that is kept, by user id."""
    days: dict[str, dict[int, int]] = {}
    for row in await db.fetch_all("SELECT user_id, day, tokens FROM usage"):
        days.setdefault(str(row["day"]), {})[int(row["user_id"])] = int(row["tokens"])
    return days


async def add_usage(connection: aiosqlite.Connection, user_id: int, day: str, tokens: int) -> None:
    """Old days are forgotten with it. Nothing happens for somebody who has left meanwhile."""
    await connection.execute(
        "DELETE FROM usage WHERE day < ? AND day NOT IN"
        " (SELECT DISTINCT day FROM usage ORDER BY day DESC LIMIT ?)",
        (day, KEPT_DAYS),
    )
    await connection.execute(
        "INSERT INTO usage (user_id, day, tokens)"
        " SELECT id, ?, ? FROM users WHERE id = ?"
        " ON CONFLICT (user_id, day) DO UPDATE SET tokens = tokens + excluded.tokens",
        (day, tokens, user_id),
    )
