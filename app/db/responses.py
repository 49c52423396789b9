"""The table of responses. Every statement names the user whose responses they are."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database

DELETED_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """Response with the items that were new in its request, both as JSON. previous_id: the one that
    it goes on from."""

    id: str
    previous_id: str | None
    input: str
    response: str
    created_at: float


def _response(row: sqlite3.Row) -> StoredResponse:
    return StoredResponse(*(row[name] for name in StoredResponse.__slots__))


async def get(
    db: Database, user_id: int, response_id: str, created_after: float
) -> StoredResponse | None:
    row = await db.fetch_one(
        "SELECT id, previous_id, input, response, created_at FROM responses"
        " WHERE user_id = ? AND id = ? AND created_at > ?",
        (user_id, response_id, created_after),
    )
    return None if row is None else _response(row)


async def add(
    connection: aiosqlite.Connection, user_id: int, response: StoredResponse, size: int
) -> None:
    await connection.execute(
        "INSERT INTO responses (id, user_id, previous_id, input, response, size, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(response.id, user_id, response.previous_id, response.input, response.response),
            *(size, response.created_at),
        ),
    )


async def remove(connection: aiosqlite.Connection, user_id: int, response_id: str) -> bool:
    """Delete a response. Whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM responses WHERE id = ? AND user_id = ?", (response_id, user_id)
    )
    return cursor.rowcount == 1


async def remove_surplus(
    connection: aiosqlite.Connection, user_id: int, most: int, most_characters: int
) -> None:
    """Delete a user's oldest responses, until so many are left, with so many characters."""
    await connection.execute(
        "DELETE FROM responses WHERE user_id = ? AND id IN (SELECT id FROM ("
        " SELECT id, row_number() OVER newest AS number, sum(size) OVER newest AS characters"
        " FROM responses WHERE user_id = ?"
        " WINDOW newest AS (ORDER BY created_at DESC, rowid DESC ROWS UNBOUNDED PRECEDING))"
        " WHERE number > ? OR (number > 1 AND characters > ?))",
        (user_id, user_id, most, most_characters),
    )


async def remove_some(connection: aiosqlite.Connection, user_id: int) -> int:
    """Delete some of a user's responses. How many those were."""
    cursor = await connection.execute(
        "DELETE FROM responses WHERE user_id = ? AND id IN"
        " (SELECT id FROM responses WHERE user_id = ? LIMIT ?)",
        (user_id, user_id, DELETED_AT_ONCE),
    )
    return cursor.rowcount


async def purge_expired_responses(connection: aiosqlite.Connection, until: float) -> int:
    """Delete some of what is older, of all users. How many those were."""
    cursor = await connection.execute(
        "DELETE FROM responses WHERE id IN"
        " (SELECT id FROM responses WHERE created_at <= ? LIMIT ?)",
        (until, DELETED_AT_ONCE),
    )
    return cursor.rowcount
