"""The table of logins. A token is known only by its hash."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

from app.db.users import Role

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class Session:
    """A browser in which a user is logged in. `method`: how they logged in; `is_current`: found by
    its newest token."""

    id: int
    user_id: int
    name: str
    role: Role
    csrf: str
    device: str
    address: str
    created_at: float
    seen_at: float
    rotated_at: float
    method: str = "password"
    is_current: bool = True
    is_confirmed: bool = True


def hash_token(token: str) -> bytes:
    """Hash a long random token, of a session or of anything else that lets its holder in. Only the
    hash is kept, so that who reads the database has no token.

    A password needs more: `app/accounts/passwords.py`.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Logins made or seen before these times have ended."""

    made_after: float
    seen_after: float


_LIVE = (
    "SELECT l.*, u.name, u.role FROM logins l JOIN users u ON u.id = l.user_id"
    " WHERE u.disabled_at IS NULL AND l.created_at > ? AND l.seen_at > ?"
    " AND l.user_id NOT IN (SELECT user_id FROM leavers)"
)


def _session(row: sqlite3.Row, token_hash: bytes = b"") -> Session:
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        role=row["role"],
        csrf=row["csrf"],
        device=row["device"],
        address=row["address"],
        created_at=row["created_at"],
        seen_at=row["seen_at"],
        rotated_at=row["rotated_at"],
        method=row["method"],
        is_current=not token_hash or row["token_hash"] == token_hash,
        is_confirmed=row["previous_hash"] is None,
    )


async def add(
    connection: aiosqlite.Connection,
    user_id: int,
    token_hash: bytes,
    csrf: str,
    device: str,
    address: str,
    now: float,
    method: str,
) -> int:
    cursor = await connection.execute(
        "INSERT INTO logins"
        " (user_id, token_hash, csrf, device, address, created_at, seen_at, rotated_at, method)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (user_id, token_hash, csrf, device, address, now, now, now, method),
    )
    if cursor.lastrowid is None:
        raise sqlite3.DatabaseError("the login has no id")
    return cursor.lastrowid


async def end_oldest(connection: aiosqlite.Connection, user_id: int, most: int, newest: int) -> int:
    """End those of a user's sessions not used for longest, beyond `most`; `newest` stays. Count
    them."""
    cursor = await connection.execute(
        "DELETE FROM logins WHERE user_id = ? AND id IN (SELECT id FROM logins WHERE user_id = ?"
        " AND id != ? ORDER BY seen_at DESC, id DESC LIMIT -1 OFFSET ?)",
        (user_id, user_id, newest, most - 1),
    )
    return cursor.rowcount


async def get(db: Database, token_hash: bytes, limits: SessionLimits) -> Session | None:
    """The login that this token is of, or was of before its last change."""
    row = await db.fetch_one(
        f"{_LIVE} AND (l.token_hash = ? OR l.previous_hash = ?)",
        (limits.made_after, limits.seen_after, token_hash, token_hash),
    )
    return None if row is None else _session(row, token_hash)


async def active_ids(db: Database, ids: Iterable[int], limits: SessionLimits) -> dict[int, Session]:
    """Return which of these sessions are active."""
    wanted = tuple(ids)
    marks = ", ".join("?" * len(wanted))
    rows = await db.fetch_all(
        f"{_LIVE} AND l.id IN ({marks})", (limits.made_after, limits.seen_after, *wanted)
    )
    return {row["id"]: _session(row) for row in rows}


async def list_for_user(db: Database, user_id: int, limits: SessionLimits) -> list[Session]:
    """List the sessions of a user, the latest used first."""
    rows = await db.fetch_all(
        f"{_LIVE} AND l.user_id = ? ORDER BY l.seen_at DESC, l.id DESC",
        (limits.made_after, limits.seen_after, user_id),
    )
    return [_session(row) for row in rows]


async def touch(connection: aiosqlite.Connection, session_id: int, now: float) -> None:
    await connection.execute("UPDATE logins SET seen_at = ? WHERE id = ?", (now, session_id))


async def confirm(connection: aiosqlite.Connection, session_id: int, token_hash: bytes) -> None:
    """The browser has shown its new token: the one before it is worth nothing any more."""
    await connection.execute(
        "UPDATE logins SET previous_hash = NULL WHERE id = ? AND token_hash = ?",
        (session_id, token_hash),
    )


async def rotate(
    connection: aiosqlite.Connection, session: Session, shown: bytes, new: bytes, now: float
) -> bool:
    """Put a new token in the place of the one shown. Whether nobody else has meanwhile."""
    cursor = await connection.execute(
        "UPDATE logins SET token_hash = ?, previous_hash = ?, rotated_at = ?"
        " WHERE id = ? AND rotated_at = ?",
        (new, shown, now, session.id, session.rotated_at),
    )
    return cursor.rowcount > 0


async def revoke(connection: aiosqlite.Connection, user_id: int, session_id: int) -> bool:
    """Return whether this user had such a session."""
    cursor = await connection.execute(
        "DELETE FROM logins WHERE id = ? AND user_id = ?", (session_id, user_id)
    )
    return cursor.rowcount > 0


async def revoke_all(connection: aiosqlite.Connection, user_id: int, *, besides: int = 0) -> None:
    await connection.execute("DELETE FROM logins WHERE user_id = ? AND id != ?", (user_id, besides))


async def purge_expired(connection: aiosqlite.Connection, limits: SessionLimits) -> None:
    await connection.execute(
        "DELETE FROM logins WHERE created_at <= ? OR seen_at <= ?",
        (limits.made_after, limits.seen_after),
    )
