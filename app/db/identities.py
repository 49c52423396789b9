"""The table of external identities: who a user is for a proxy or a provider that logs them in."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class LinkedIdentity:
    """An external identity of a user. name: how they recognize it."""

    issuer: str
    subject: str
    user_id: int
    name: str
    created_at: float


def _identity(row: sqlite3.Row) -> LinkedIdentity:
    return LinkedIdentity(
        row["issuer"], row["subject"], row["user_id"], row["name"], row["created_at"]
    )


async def user_of(db: Database, issuer: str, subject: str) -> int | None:
    """Return the user that is meant, unless they have left."""
    row = await db.fetch_one(
        "SELECT user_id FROM identities WHERE issuer = ? AND subject = ?", (issuer, subject)
    )
    return None if row is None else int(row["user_id"])


async def list_for_user(db: Database, user_id: int) -> list[LinkedIdentity]:
    rows = await db.fetch_all(
        "SELECT * FROM identities WHERE user_id = ? ORDER BY created_at, issuer", (user_id,)
    )
    return [_identity(row) for row in rows]


async def add(connection: aiosqlite.Connection, identity: LinkedIdentity) -> int:
    """Add an identity. Return whose it is: another's, if it was theirs already."""
    await connection.execute(
        "INSERT INTO identities (issuer, subject, user_id, name, created_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (issuer, subject) DO NOTHING",
        (
            identity.issuer,
            identity.subject,
            identity.user_id,
            identity.name,
            identity.created_at,
        ),
    )
    return await find(connection, identity.issuer, identity.subject) or 0


async def find(connection: aiosqlite.Connection, issuer: str, subject: str) -> int | None:
    """Return the user that is meant, within a transaction."""
    async with connection.execute(
        "SELECT user_id FROM identities WHERE issuer = ? AND subject = ?", (issuer, subject)
    ) as cursor:
        row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def remove(connection: aiosqlite.Connection, user_id: int, issuer: str, subject: str) -> bool:
    """Return whether this user had that identity."""
    cursor = await connection.execute(
        "DELETE FROM identities WHERE user_id = ? AND issuer = ? AND subject = ?",
        (user_id, issuer, subject),
    )
    return cursor.rowcount > 0
