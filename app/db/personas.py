"""Personas and the chats that began with them. Every statement names the user whose they are."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaValues:
    """Values that a user gives a persona. model: empty for that of new chats; settings, starters:
    JSON."""

    name: str
    emoji: str = ""
    instructions: str = ""
    greeting: str = ""
    model: str = ""
    settings: str = "{}"
    starters: str = "[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona(PersonaValues):
    """A persona as it is stored. picture_type: the media type of its picture, if it has one."""

    id: int
    picture_type: str | None
    updated_at: float


_VALUES = tuple(PersonaValues.__slots__)
_SHOWN = (*_VALUES, "id", "picture_type", "updated_at")
_SELECT = f"SELECT {', '.join(_SHOWN)} FROM personas p WHERE user_id = ?"  # noqa: S608


def _persona(row: sqlite3.Row) -> Persona:
    return Persona(**{name: row[name] for name in _SHOWN})


def _values(values: PersonaValues) -> dict[str, Any]:
    return {name: getattr(values, name) for name in _VALUES}


async def listed(db: Database, user_id: int) -> list[Persona]:
    """List a user's personas by name."""
    rows = await db.fetch_all(f"{_SELECT} ORDER BY name COLLATE NOCASE", (user_id,))
    return [_persona(row) for row in rows]


async def get(db: Database, user_id: int, persona_id: int) -> Persona | None:
    row = await db.fetch_one(f"{_SELECT} AND id = ?", (user_id, persona_id))
    return None if row is None else _persona(row)


async def of_chat(db: Database, user_id: int, chat_id: str) -> Persona | None:
    """The persona with which a chat has begun, while there is one."""
    row = await db.fetch_one(
        f"{_SELECT} AND id = (SELECT persona_id FROM chat_personas WHERE chat_id = ?)",  # noqa: S608
        (user_id, chat_id),
    )
    return None if row is None else _persona(row)


async def picture(db: Database, user_id: int, persona_id: int) -> tuple[bytes, str] | None:
    """The picture of a persona with its media type."""
    row = await db.fetch_one(
        "SELECT picture, picture_type FROM personas WHERE user_id = ? AND id = ?"
        " AND picture IS NOT NULL",
        (user_id, persona_id),
    )
    return None if row is None else (row["picture"], row["picture_type"])


async def count(connection: aiosqlite.Connection, user_id: int) -> int:
    """Count a user's personas within a transaction."""
    sql = "SELECT count(*) FROM personas WHERE user_id = ?"
    async with connection.execute(sql, (user_id,)) as cursor:
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def add(
    connection: aiosqlite.Connection, user_id: int, values: PersonaValues, now: float
) -> int | None:
    """Add a persona and return its id; None when its name is taken."""
    names = ", ".join(_VALUES)
    marks = ", ".join(f":{name}" for name in _VALUES)
    cursor = await connection.execute(
        f"INSERT INTO personas (user_id, {names}, created_at, updated_at)"  # noqa: S608
        f" VALUES (:user, {marks}, :now, :now) ON CONFLICT (user_id, name) DO NOTHING",
        _values(values) | {"user": user_id, "now": now},
    )
    return cursor.lastrowid if cursor.rowcount == 1 else None


async def change(
    connection: aiosqlite.Connection,
    user_id: int,
    persona_id: int,
    values: PersonaValues,
    now: float,
) -> bool:
    """Change a persona. False when its new name is taken, or it is gone."""
    sets = ", ".join(f"{name} = :{name}" for name in _VALUES)
    cursor = await connection.execute(
        f"UPDATE OR IGNORE personas SET {sets}, updated_at = :now"  # noqa: S608
        " WHERE id = :id AND user_id = :user",
        _values(values) | {"id": persona_id, "user": user_id, "now": now},
    )
    return cursor.rowcount == 1


async def set_picture(
    connection: aiosqlite.Connection,
    user_id: int,
    persona_id: int,
    data: bytes | None,
    media_type: str | None,
    now: float,
) -> None:
    """Give a persona another picture, or none."""
    await connection.execute(
        "UPDATE personas SET picture = ?, picture_type = ?, updated_at = ?"
        " WHERE id = ? AND user_id = ?",
        (data, media_type, now, persona_id, user_id),
    )


async def remove(connection: aiosqlite.Connection, user_id: int, persona_id: int) -> bool:
    """Delete a persona; chats that began with it keep their settings. Whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM personas WHERE id = ? AND user_id = ?", (persona_id, user_id)
    )
    return cursor.rowcount == 1


async def begin_chat(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, persona_id: int
) -> None:
    """Note with which persona a chat begins."""
    await connection.execute(
        "INSERT OR IGNORE INTO chat_personas (chat_id, persona_id) SELECT c.id, p.id"
        " FROM chats c JOIN personas p ON p.user_id = c.user_id"
        " WHERE c.id = ? AND p.id = ? AND c.user_id = ?",
        (chat_id, persona_id, user_id),
    )
