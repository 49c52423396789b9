"""The rows of an import on their way in: a database of its own, written by the process that reads
the file and read by the one that serves, a few rows at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from app.db.messages import FILE_COLUMNS

CHAT_COLUMNS: Final = (
    *("id", "spare_id", "import_key", "title", "title_source", "model", "created_at"),
    *("updated_at", "pinned_at", "archived_at", "settings", "leaf"),
)
MESSAGE_COLUMNS: Final = ("parent", *(name for name in FILE_COLUMNS if name != "id"))
"""As a file has them; messages get ids when they are taken over."""
NAMED_LEFT_OUT: Final = 50
"""Entries that were left out and are told by name; of the others only the number is."""
# ruff: noqa: S608 - only names of this module are joined


def create(path: Path) -> sqlite3.Connection:
    """An empty one; nothing of it need survive a crash."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"CREATE TABLE chats (place INTEGER PRIMARY KEY, {', '.join(CHAT_COLUMNS)})")
    connection.execute(
        f"CREATE TABLE messages (chat INTEGER, place INTEGER, {', '.join(MESSAGE_COLUMNS)},"
        " PRIMARY KEY (chat, place)) WITHOUT ROWID"
    )
    connection.execute("CREATE TABLE left_out (name TEXT, reason TEXT)")
    connection.execute("CREATE TABLE counts (empty INTEGER, left_out INTEGER)")
    connection.execute("INSERT INTO counts VALUES (0, 0)")
    return connection


def add_chat(
    connection: sqlite3.Connection,
    place: int,
    chat: Mapping[str, Any],
    messages: Iterable[Mapping[str, Any]],
) -> None:
    """`parent` and `leaf` are places in `messages`."""
    marks = ", ".join("?" * (len(CHAT_COLUMNS) + 1))
    connection.execute(
        f"INSERT INTO chats VALUES ({marks})", (place, *(chat[name] for name in CHAT_COLUMNS))
    )
    marks = ", ".join("?" * (len(MESSAGE_COLUMNS) + 2))
    connection.executemany(
        f"INSERT INTO messages VALUES ({marks})",
        (
            (place, number, *(message.get(name) for name in MESSAGE_COLUMNS))
            for number, message in enumerate(messages)
        ),
    )


def drop_chat(connection: sqlite3.Connection, place: int) -> None:
    connection.execute("DELETE FROM chats WHERE place = ?", (place,))
    connection.execute("DELETE FROM messages WHERE chat = ?", (place,))


def add_left_out(connection: sqlite3.Connection, name: str, reason: str) -> None:
    connection.execute("UPDATE counts SET left_out = left_out + 1")
    connection.execute(
        "INSERT INTO left_out SELECT ?, ? FROM counts WHERE left_out <= ?",
        (name, reason, NAMED_LEFT_OUT),
    )


def add_empty(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE counts SET empty = empty + 1")


class StagedImport:
    """One that has been written. Use `opened`."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def empty(self) -> int:
        return int((await self._rows("SELECT empty FROM counts"))[0][0])

    async def left_out(self) -> tuple[list[tuple[str, str]], int]:
        """Names and reasons of the first, and how many there are in all."""
        rows = await self._rows("SELECT name, reason FROM left_out")
        count = await self._rows("SELECT left_out FROM counts")
        return [(row["name"], row["reason"]) for row in rows], int(count[0][0])

    async def next_chat(self, after: int) -> sqlite3.Row | None:
        """The chat that follows a place, first after -1."""
        rows = await self._rows("SELECT * FROM chats WHERE place > ? ORDER BY place LIMIT 1", after)
        return rows[0] if rows else None

    async def messages(self, chat: int, start: int, rows: int, size: int) -> list[sqlite3.Row]:
        """Return messages from a place on, at most so many, of about `size` characters."""
        sizes = await self._rows(
            "SELECT place, length(text) AS size FROM messages WHERE chat = ? AND place >= ?"
            " ORDER BY place LIMIT ?",
            *(chat, start, rows),
        )
        end = start
        for row in sizes:
            if end > start and size < row["size"]:
                break
            size -= row["size"]
            end = row["place"] + 1
        return await self._rows(
            "SELECT * FROM messages WHERE chat = ? AND place >= ? AND place < ? ORDER BY place",
            *(chat, start, end),
        )

    async def _rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        return list(await self._connection.execute_fetchall(sql, parameters))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[StagedImport]:
    async with aiosqlite.connect(f"{path.as_uri()}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        yield StagedImport(connection)
