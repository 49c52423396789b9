"""The table of API keys."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Times in seconds since 1970. hint: how the key begins; the key itself is kept nowhere."""

    id: int
    user_id: int
    name: str
    hint: str
    scopes: tuple[str, ...]
    created_at: float
    used_at: float | None


_COLUMNS = "id, user_id, name, hint, scopes, created_at, used_at"


def _api_key(row: sqlite3.Row) -> ApiKey:
    return ApiKey(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        hint=row["hint"],
        scopes=tuple(row["scopes"].split()),
        created_at=row["created_at"],
        used_at=row["used_at"],
    )


async def add(
    connection: aiosqlite.Connection,
    user_id: int,
    name: str,
    digest: bytes,
    hint: str,
    scopes: Sequence[str],
    now: float,
) -> int:
    """The new key's id."""
    cursor = await connection.execute(
        "INSERT INTO api_keys (user_id, name, hash, hint, scopes, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (user_id, name, digest, hint, " ".join(scopes), now),
    )
    assert cursor.lastrowid is not None  # noqa: S101 - an INSERT into a rowid table sets it
    return cursor.lastrowid


async def get(db: Database, digest: bytes) -> ApiKey | None:
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM api_keys WHERE hash = ?",  # noqa: S608 - own words
        (digest,),
    )
    return None if row is None else _api_key(row)


async def list_for_user(db: Database, user_id: int) -> list[ApiKey]:
    """List a user's keys, the newest first."""
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = ? ORDER BY id DESC",  # noqa: S608
        (user_id,),
    )
    return [_api_key(row) for row in rows]


async def touch(connection: aiosqlite.Connection, key_id: int, now: float) -> None:
    await connection.execute("UPDATE api_keys SET used_at = ? WHERE id = ?", (now, key_id))


async def revoke(connection: aiosqlite.Connection, user_id: int, key_id: int) -> bool:
    """Return whether this user had such a key."""
    cursor = await connection.execute(
        "DELETE FROM api_keys WHERE id = ? AND user_id = ?", (key_id, user_id)
    )
    return cursor.rowcount > 0
