"""Numbered SQL files bring a database up to what the code expects, one transaction each."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Final

import aiosqlite

from app.config import asset_dir
from app.errors import DatabaseTooNew, StoreError, StoreUnusable

log = logging.getLogger(__name__)
OURS: Final = frozenset({"chats", "messages"})
"""Tables that every version has."""


def numbered(folder: Path) -> dict[int, Path]:
    """The files `0001_name.sql`, … by number."""
    return {int(path.name[:4]): path for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))}


async def migrate(connection: aiosqlite.Connection, path: Path, folder: Path | None = None) -> None:
    """Apply what is missing. A database that holds something is backed up first, beside `path`.

    Raises DatabaseTooNew when a later version of Wick wrote it, StoreError when a step fails
    (that step is undone whole).
    """
    steps = numbered(folder or asset_dir("migrations"))
    version = await _version(connection)
    newest = max(steps)
    if version > newest:
        raise DatabaseTooNew(
            f"The database {path} was written by a newer version of Wick "
            f"(its version is {version}, this Wick knows {newest}). Please update Wick."
        )
    if 0 < version < newest:
        await _back_up(connection, path.with_name(f"{path.name}.before-{newest}"))
    for number in range(version + 1, newest + 1):
        log.info("Migrating the database to version %d.", number)
        await _apply(connection, number, steps[number].read_text("utf-8"))


async def check_origin(connection: aiosqlite.Connection, path: Path) -> None:
    """Raises StoreUnusable for a database that is not Wick's, which is left as it is."""
    sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = {str(row[0]) for row in await connection.execute_fetchall(sql)}
    if tables and not tables >= OURS:
        raise StoreUnusable(
            f"The database {path} belongs to another application. Set WICK_DATA_DIR to a folder of "
            "Wick's own."
        )


async def _version(connection: aiosqlite.Connection) -> int:
    async with connection.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - this pragma always answers
    return int(row[0])


async def _apply(connection: aiosqlite.Connection, number: int, sql: str) -> None:
    script = f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;"
    try:
        await connection.executescript(script)
    except sqlite3.Error as error:
        if connection.in_transaction:
            await connection.rollback()
        raise StoreError(f"Step {number} of updating the database failed: {error}.") from error


async def _back_up(connection: aiosqlite.Connection, target: Path) -> None:
    target.touch(mode=0o600)
    async with aiosqlite.connect(target) as copy:
        await connection.backup(copy)
