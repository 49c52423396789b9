"""The table of passkeys: public keys of users' devices."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey as its device made it. rp_id: the host it is for; user_handle: whose it is, as the
    device knows it; name: as its user calls it; sign_count: how often it was used, where the device
    counts."""

    user_id: int
    credential_id: bytes
    public_key: bytes
    user_handle: bytes
    rp_id: str
    sign_count: int
    name: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Passkey(NewPasskey):
    """A passkey of a user. used_at: when it last logged in."""

    id: int
    used_at: float | None


def _passkey(row: sqlite3.Row) -> Passkey:
    return Passkey(
        id=row["id"],
        user_id=row["user_id"],
        credential_id=row["credential_id"],
        public_key=row["public_key"],
        user_handle=row["user_handle"],
        rp_id=row["rp_id"],
        sign_count=row["sign_count"],
        name=row["name"],
        created_at=row["created_at"],
        used_at=row["used_at"],
    )


async def list_for_user(db: Database, user_id: int) -> list[Passkey]:
    rows = await db.fetch_all(
        "SELECT * FROM passkeys WHERE user_id = ? ORDER BY created_at, id", (user_id,)
    )
    return [_passkey(row) for row in rows]


async def find(db: Database, credential_id: bytes) -> Passkey | None:
    row = await db.fetch_one("SELECT * FROM passkeys WHERE credential_id = ?", (credential_id,))
    return None if row is None else _passkey(row)


async def has_any(db: Database, rp_id: str) -> bool:
    """Return whether any user has a passkey for this host."""
    row = await db.fetch_one("SELECT 1 FROM passkeys WHERE rp_id = ? LIMIT 1", (rp_id,))
    return row is not None


async def add(connection: aiosqlite.Connection, passkey: NewPasskey, most: int) -> bool:
    """Add a passkey. Return whether it was new, and its user had fewer than `most`."""
    cursor = await connection.execute(
        "INSERT INTO passkeys (user_id, credential_id, public_key, user_handle, rp_id, sign_count,"
        " name, created_at) SELECT ?, ?, ?, ?, ?, ?, ?, ?"
        " WHERE (SELECT count(*) FROM passkeys WHERE user_id = ?) < ?"
        " ON CONFLICT (credential_id) DO NOTHING",
        (
            passkey.user_id,
            passkey.credential_id,
            passkey.public_key,
            passkey.user_handle,
            passkey.rp_id,
            passkey.sign_count,
            passkey.name,
            passkey.created_at,
            passkey.user_id,
            most,
        ),
    )
    return cursor.rowcount > 0


async def use(
    connection: aiosqlite.Connection, passkey: Passkey, sign_count: int, now: float
) -> bool:
    """Note that a passkey was used. Return whether it is still there, and its count has not been
    reached meanwhile."""
    cursor = await connection.execute(
        "UPDATE passkeys SET sign_count = :count, used_at = :now WHERE id = :id"
        " AND user_id = :user_id AND (sign_count < :count OR (sign_count = 0 AND :count = 0))",
        {"count": sign_count, "now": now, "id": passkey.id, "user_id": passkey.user_id},
    )
    return cursor.rowcount > 0


async def remove(connection: aiosqlite.Connection, user_id: int, passkey_id: int) -> bool:
    """Return whether this user had that passkey."""
    cursor = await connection.execute(
        "DELETE FROM passkeys WHERE id = ? AND user_id = ?", (passkey_id, user_id)
    )
    return cursor.rowcount > 0


async def remove_all(connection: aiosqlite.Connection, user_id: int) -> int:
    """Return how many there were."""
    cursor = await connection.execute("DELETE FROM passkeys WHERE user_id = ?", (user_id,))
    return cursor.rowcount
