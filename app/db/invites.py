"""The table of links by which people get in. Each works once, and is known only by its hash."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

from app.db.users import Role

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class Invite:
    """`user_id`: who it is for, if it is for somebody who is there already."""

    id: int
    role: Role
    user_id: int | None
    made_by: int | None
    created_at: float
    expires_at: float


def _invite(row: sqlite3.Row) -> Invite:
    return Invite(
        row["id"],
        row["role"],
        row["user_id"],
        row["made_by"],
        row["created_at"],
        row["expires_at"],
    )


async def add(
    connection: aiosqlite.Connection,
    token_hash: bytes,
    role: Role,
    user_id: int | None,
    made_by: int | None,
    now: float,
    expires_at: float,
) -> None:
    await connection.execute(
        "INSERT INTO invites (token_hash, role, user_id, made_by, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (token_hash, role, user_id, made_by, now, expires_at),
    )


async def get(db: Database, token_hash: bytes, now: float) -> Invite | None:
    row = await db.fetch_one(
        "SELECT * FROM invites WHERE token_hash = ? AND expires_at > ?", (token_hash, now)
    )
    return None if row is None else _invite(row)


async def consume(connection: aiosqlite.Connection, token_hash: bytes, now: float) -> Invite | None:
    """Use it up. None when it is not there, or not any more."""
    async with connection.execute(
        "DELETE FROM invites WHERE token_hash = ? AND expires_at > ? RETURNING *",
        (token_hash, now),
    ) as cursor:
        row = await cursor.fetchone()
    return None if row is None else _invite(row)


async def list_open(db: Database, now: float) -> list[Invite]:
    """List invites for new users, the newest first."""
    rows = await db.fetch_all(
        "SELECT * FROM invites WHERE user_id IS NULL AND expires_at > ? ORDER BY id DESC", (now,)
    )
    return [_invite(row) for row in rows]


async def for_user(db: Database, user_id: int, now: float) -> list[Invite]:
    """List links by which this user's password can be changed."""
    rows = await db.fetch_all(
        "SELECT * FROM invites WHERE user_id = ? AND expires_at > ?", (user_id, now)
    )
    return [_invite(row) for row in rows]


async def revoke(connection: aiosqlite.Connection, invite_id: int) -> bool:
    """Return whether it was there."""
    cursor = await connection.execute("DELETE FROM invites WHERE id = ?", (invite_id,))
    return cursor.rowcount > 0


async def revoke_for(connection: aiosqlite.Connection, user_id: int) -> None:
    """Every link by which this user could choose a password."""
    await connection.execute("DELETE FROM invites WHERE user_id = ?", (user_id,))


async def revoke_by(connection: aiosqlite.Connection, user_id: int) -> None:
    """Every link that this user has made."""
    await connection.execute("DELETE FROM invites WHERE made_by = ?", (user_id,))


async def purge_expired(connection: aiosqlite.Connection, now: float) -> None:
    await connection.execute("DELETE FROM invites WHERE expires_at <= ?", (now,))
