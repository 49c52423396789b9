"""Tables of users, of the links that invite them, and of the tokens evaluated for each, by day."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import aiosqlite

from app.db import one_time_codes, passkeys

if TYPE_CHECKING:
    from app.db.connection import Database

Role = Literal["owner", "member"]
LOCAL_USER: Final = 1
"""Owner of all that is made where no login is needed; the first owner takes it over."""
KEPT_DAYS: Final = 8
"""Days of which the newest are kept: a clock that was wrong comes back to one of them."""


@dataclass(frozen=True, slots=True)
class User:
    """A user. Times in seconds since 1970; `seen_at`: when one of their sessions was last used;
    has_codes: whether their password alone does not log them in."""

    id: int
    name: str
    role: Role
    has_password: bool
    disabled_at: float | None
    created_at: float
    seen_at: float | None = None
    has_codes: bool = False


_COLUMNS = (
    "id, name, role, password IS NOT NULL AS has_password, disabled_at, created_at,"
    " (SELECT max(seen_at) FROM logins WHERE user_id = users.id) AS seen_at,"
    " id IN (SELECT user_id FROM one_time_codes) AS has_codes"
)
_NOT_DELETED = "id NOT IN (SELECT user_id FROM leavers) AND holds_for IS NULL"


def _user(row: sqlite3.Row) -> User:
    return User(
        id=row["id"],
        name=row["name"],
        role=row["role"],
        has_password=bool(row["has_password"]),
        disabled_at=row["disabled_at"],
        created_at=row["created_at"],
        seen_at=row["seen_at"],
        has_codes=bool(row["has_codes"]),
    )


async def get(db: Database, user_id: int) -> User | None:
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM users WHERE id = ? AND {_NOT_DELETED}",  # noqa: S608 - own words
        (user_id,),
    )
    return None if row is None else _user(row)


async def get_by_name(db: Database, name_key: str) -> User | None:
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM users WHERE name_key = ? AND {_NOT_DELETED}",  # noqa: S608
        (name_key,),
    )
    return None if row is None else _user(row)


async def list_users(db: Database) -> list[User]:
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM users WHERE {_NOT_DELETED} ORDER BY created_at, id"  # noqa: S608
    )
    return [_user(row) for row in rows]


async def credentials(db: Database, name_key: str) -> tuple[User, str] | None:
    """Return who may log in under this name, and the hash of their password."""
    row = await db.fetch_one(
        f"SELECT {_COLUMNS}, password FROM users WHERE name_key = ?"  # noqa: S608
        f" AND password IS NOT NULL AND disabled_at IS NULL AND {_NOT_DELETED}",
        (name_key,),
    )
    return None if row is None else (_user(row), row["password"])


async def count_owners(connection: aiosqlite.Connection, *, besides: int = 0) -> int:
    """Owners who can log in."""
    async with connection.execute(
        "SELECT count(*) FROM users WHERE role = 'owner' AND password IS NOT NULL"  # noqa: S608
        f" AND disabled_at IS NULL AND id != ? AND {_NOT_DELETED}",
        (besides,),
    ) as cursor:
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def has_owner(db: Database) -> bool:
    """Return whether there is an owner who can log in."""
    row = await db.fetch_one(
        "SELECT 1 FROM users WHERE role = 'owner' AND password IS NOT NULL"  # noqa: S608
        f" AND disabled_at IS NULL AND {_NOT_DELETED}"
    )
    return row is not None


async def is_taken(connection: aiosqlite.Connection, name_key: str, *, besides: int = 0) -> bool:
    async with connection.execute(
        "SELECT 1 FROM users WHERE name_key = ? AND id != ?", (name_key, besides)
    ) as cursor:
        return await cursor.fetchone() is not None


async def add(
    connection: aiosqlite.Connection,
    name: str,
    name_key: str,
    password: str | None,
    role: Role,
    now: float,
) -> int:
    """Return the new id, which nobody had before: nothing finds it by the id of a deleted user."""
    user_id = 2 + secrets.randbelow(2**31 - 2)
    await connection.execute(
        "INSERT INTO users (id, name, name_key, password, role, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (user_id, name, name_key, password, role, now),
    )
    return user_id


async def add_local(connection: aiosqlite.Connection, now: float) -> None:
    """Add the user at this machine, should they have been deleted."""
    name = "local"
    if await is_taken(connection, name):
        name = f"local {secrets.token_hex(4)}"
    await connection.execute(
        "INSERT INTO users (id, name, name_key, role, created_at) VALUES (?, ?, ?, 'owner', ?)"
        " ON CONFLICT (id) DO NOTHING",
        (LOCAL_USER, name, name, now),
    )


async def name_user(
    connection: aiosqlite.Connection, user_id: int, name: str, name_key: str
) -> None:
    await connection.execute(
        "UPDATE users SET name = ?, name_key = ? WHERE id = ?", (name, name_key, user_id)
    )


async def set_password(connection: aiosqlite.Connection, user_id: int, password: str) -> None:
    await connection.execute("UPDATE users SET password = ? WHERE id = ?", (password, user_id))


async def replace_hash(connection: aiosqlite.Connection, user_id: int, old: str, new: str) -> None:
    """Store the same password in a newer hash, unless it has been changed meanwhile."""
    await connection.execute(
        "UPDATE users SET password = ? WHERE id = ? AND password = ?", (new, user_id, old)
    )


async def set_role(connection: aiosqlite.Connection, user_id: int, role: Role) -> None:
    await connection.execute("UPDATE users SET role = ? WHERE id = ?", (role, user_id))


async def disable(connection: aiosqlite.Connection, user_id: int, when: float | None) -> None:
    """Disable a user, or enable them (None)."""
    await connection.execute("UPDATE users SET disabled_at = ? WHERE id = ?", (when, user_id))


async def mark_for_deletion(connection: aiosqlite.Connection, user_id: int, now: float) -> None:
    """Close the account: the name is free, and nothing says who it was."""
    await connection.execute("DELETE FROM logins WHERE user_id = ?", (user_id,))
    await connection.execute("DELETE FROM identities WHERE user_id = ?", (user_id,))
    await one_time_codes.remove(connection, user_id)
    await passkeys.remove_all(connection, user_id)
    await connection.execute(
        "DELETE FROM invites WHERE user_id = :id OR made_by = :id", {"id": user_id}
    )
    await connection.execute(
        "UPDATE users SET name = :gone, name_key = :gone, password = NULL WHERE id = :id",
        {"gone": f"left {secrets.token_hex(8)}", "id": user_id},
    )
    await connection.execute(
        "INSERT INTO leavers (user_id, at) VALUES (?, ?) ON CONFLICT DO NOTHING", (user_id, now)
    )


async def pending_deletion(db: Database) -> list[int]:
    """List users whose deletion has begun and not ended."""
    return [row["user_id"] for row in await db.fetch_all("SELECT user_id FROM leavers")]


async def chats_of(db: Database, user_id: int) -> list[str]:
    """List the chats of a user, in the trash or not, and those that are yet to begin."""
    rows = await db.fetch_all(
        "SELECT id FROM chats WHERE user_id = :id"
        " UNION SELECT chat_id FROM chat_settings WHERE user_id = :id",
        {"id": user_id},  # type: ignore[arg-type]
    )
    return [row["id"] for row in rows]


async def remove(connection: aiosqlite.Connection, user_id: int) -> None:
    """Remove a user with everything that belongs to them."""
    await connection.execute("DELETE FROM users WHERE id = ?", (user_id,))


# Links by which people get in. Each works once, and is known only by its hash.


@dataclass(frozen=True, slots=True)
class Invite:
    """A link for a new user, or by which an existing one (`user_id`) chooses a password."""

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


async def add_invite(
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


async def get_invite(db: Database, token_hash: bytes, now: float) -> Invite | None:
    row = await db.fetch_one(
        "SELECT * FROM invites WHERE token_hash = ? AND expires_at > ?", (token_hash, now)
    )
    return None if row is None else _invite(row)


async def consume_invite(
    connection: aiosqlite.Connection, token_hash: bytes, now: float
) -> Invite | None:
    """Use an invite up. None when it is not there, or not any more."""
    async with connection.execute(
        "DELETE FROM invites WHERE token_hash = ? AND expires_at > ? RETURNING *",
        (token_hash, now),
    ) as cursor:
        row = await cursor.fetchone()
    return None if row is None else _invite(row)


async def list_open_invites(db: Database, now: float) -> list[Invite]:
    """List invites for new users, the newest first."""
    rows = await db.fetch_all(
        "SELECT * FROM invites WHERE user_id IS NULL AND expires_at > ? ORDER BY id DESC", (now,)
    )
    return [_invite(row) for row in rows]


async def list_password_links(db: Database, user_id: int, now: float) -> list[Invite]:
    """List links by which this user's password can be changed."""
    rows = await db.fetch_all(
        "SELECT * FROM invites WHERE user_id = ? AND expires_at > ?", (user_id, now)
    )
    return [_invite(row) for row in rows]


async def revoke_invite(connection: aiosqlite.Connection, invite_id: int) -> bool:
    """Return whether it was there."""
    cursor = await connection.execute("DELETE FROM invites WHERE id = ?", (invite_id,))
    return cursor.rowcount > 0


async def revoke_password_links(connection: aiosqlite.Connection, user_id: int) -> None:
    """Delete the links by which this user could choose a password."""
    await connection.execute("DELETE FROM invites WHERE user_id = ?", (user_id,))


async def revoke_invites_of(connection: aiosqlite.Connection, user_id: int) -> None:
    """Delete the links that this user has made."""
    await connection.execute("DELETE FROM invites WHERE made_by = ?", (user_id,))


async def purge_expired_invites(connection: aiosqlite.Connection, now: float) -> None:
    await connection.execute("DELETE FROM invites WHERE expires_at <= ?", (now,))


# Tokens that were evaluated for each user, by day.


async def by_day(db: Database) -> dict[str, dict[int, int]]:
    """Map each kept day to tokens by user id."""
    days: dict[str, dict[int, int]] = {}
    for row in await db.fetch_all("SELECT user_id, day, tokens FROM usage"):
        days.setdefault(str(row["day"]), {})[int(row["user_id"])] = int(row["tokens"])
    return days


async def add_usage(connection: aiosqlite.Connection, user_id: int, day: str, tokens: int) -> None:
    """Add tokens to a day, and forget old days. Nothing happens for a user who has been deleted."""
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
