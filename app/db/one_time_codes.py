"""The tables of one-time codes: the secret of a user's app, and the hashes of recovery codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class CodeSecret:
    """Secret of a user's app, in base32. recovery_codes: how many are left."""

    secret: str
    created_at: float
    recovery_codes: int


async def get(db: Database, user_id: int) -> CodeSecret | None:
    row = await db.fetch_one(
        "SELECT secret, created_at,"
        " (SELECT count(*) FROM recovery_codes r WHERE r.user_id = c.user_id) AS remaining"
        " FROM one_time_codes c WHERE user_id = ?",
        (user_id,),
    )
    return None if row is None else CodeSecret(row["secret"], row["created_at"], row["remaining"])


async def add(
    connection: aiosqlite.Connection, user_id: int, secret: str, now: float, step: int
) -> None:
    """Set the secret of a user, in the place of any other. step: of the code that confirmed it."""
    await remove(connection, user_id)
    await connection.execute(
        "INSERT INTO one_time_codes (user_id, secret, created_at, last_step) VALUES (?, ?, ?, ?)",
        (user_id, secret, now, step),
    )


async def use_step(connection: aiosqlite.Connection, user_id: int, step: int) -> bool:
    """Return whether no code of this step or of a later one had been used."""
    cursor = await connection.execute(
        "UPDATE one_time_codes SET last_step = ? WHERE user_id = ? AND last_step < ?",
        (step, user_id, step),
    )
    return cursor.rowcount > 0


async def remove(connection: aiosqlite.Connection, user_id: int) -> bool:
    """Remove the secret and the recovery codes. Return whether there was one."""
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
    cursor = await connection.execute("DELETE FROM one_time_codes WHERE user_id = ?", (user_id,))
    return cursor.rowcount > 0


async def replace_recovery_codes(
    connection: aiosqlite.Connection, user_id: int, hashes: Iterable[bytes]
) -> None:
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
    await connection.executemany(
        "INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)",
        [(user_id, code_hash) for code_hash in hashes],
    )


async def use_recovery_code(
    connection: aiosqlite.Connection, user_id: int, code_hash: bytes
) -> bool:
    """Use a recovery code up. Return whether it was there."""
    cursor = await connection.execute(
        "DELETE FROM recovery_codes WHERE user_id = ? AND code_hash = ?", (user_id, code_hash)
    )
    return cursor.rowcount > 0
