"""Digests of pictures and sounds: which files attachments still have, whoever's they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database

MAX_FREED = 500
"""Digests that are looked at in one transaction."""


async def take_freed(connection: aiosqlite.Connection) -> list[str]:
    """Take digests of deleted attachments, and return those that no other attachment has."""
    rows = await connection.execute_fetchall(
        "SELECT f.digest, EXISTS (SELECT 1 FROM attachments a"
        " WHERE a.kind IN ('image', 'audio') AND a.digest = f.digest) AS is_used"
        " FROM freed_pictures f LIMIT ?",
        (MAX_FREED,),
    )
    taken = [(row["digest"],) for row in rows]
    await connection.executemany("DELETE FROM freed_pictures WHERE digest = ?", taken)
    return [row["digest"] for row in rows if not row["is_used"]]


async def has_freed(db: Database) -> bool:
    return await db.fetch_one("SELECT 1 FROM freed_pictures LIMIT 1") is not None


async def unused(db: Database, digests: Iterable[str]) -> list[str]:
    """Return those that no attachment has."""
    found = []
    for digest in digests:
        row = await db.fetch_one(
            "SELECT 1 FROM attachments WHERE kind IN ('image', 'audio') AND digest = ?", (digest,)
        )
        if row is None:
            found.append(digest)
    return found
