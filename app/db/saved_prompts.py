"""The table of saved prompts. Every statement names the user whose prompts they are."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class SavedPrompt:
    """A text to use again. name: as it is typed after a slash; text: with blanks as {{words}}."""

    id: int
    name: str
    text: str
    updated_at: float


def _prompt(row: sqlite3.Row) -> SavedPrompt:
    return SavedPrompt(*(row[name] for name in SavedPrompt.__slots__))


_SELECT = "SELECT id, name, text, updated_at FROM saved_prompts WHERE user_id = ?"


async def listed(db: Database, user_id: int) -> list[SavedPrompt]:
    """List a user's prompts by name."""
    rows = await db.fetch_all(f"{_SELECT} ORDER BY name", (user_id,))
    return [_prompt(row) for row in rows]


async def get(db: Database, user_id: int, prompt_id: int) -> SavedPrompt | None:
    row = await db.fetch_one(f"{_SELECT} AND id = ?", (user_id, prompt_id))
    return None if row is None else _prompt(row)


async def count(connection: aiosqlite.Connection, user_id: int) -> int:
    """Count a user's prompts within a transaction."""
    sql = "SELECT count(*) FROM saved_prompts WHERE user_id = ?"
    async with connection.execute(sql, (user_id,)) as cursor:
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def add(
    connection: aiosqlite.Connection, user_id: int, name: str, text: str, now: float
) -> int | None:
    """Add a prompt and return its id; None when its name is taken."""
    cursor = await connection.execute(
        "INSERT INTO saved_prompts (user_id, name, text, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id, name) DO NOTHING",
        (user_id, name, text, now, now),
    )
    return cursor.lastrowid if cursor.rowcount == 1 else None


async def change(
    connection: aiosqlite.Connection, user_id: int, prompt_id: int, name: str, text: str, now: float
) -> bool:
    """Change a prompt. False when its new name is taken, or it is gone."""
    cursor = await connection.execute(
        "UPDATE OR IGNORE saved_prompts SET name = ?, text = ?, updated_at = ?"
        " WHERE id = ? AND user_id = ?",
        (name, text, now, prompt_id, user_id),
    )
    return cursor.rowcount == 1


async def remove(connection: aiosqlite.Connection, user_id: int, prompt_id: int) -> bool:
    """Delete a prompt. Whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM saved_prompts WHERE id = ? AND user_id = ?", (prompt_id, user_id)
    )
    return cursor.rowcount == 1
