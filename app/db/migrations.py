"""Migrations: numbered SQL files that bring a database up to what the code expects.

A database that holds something is copied first, beside itself. Then all files that it lacks run in
one transaction: it is of the new schema whole, or stays as it was.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiosqlite

from app.config import asset_dir
from app.errors import DatabaseTooNew, StoreError, StoreUnusable

log = logging.getLogger(__name__)
COPIES_KEPT: Final = 3
SPARE_BYTES: Final = 16 << 20
"""Free bytes beside the copy, for the log of the migration itself."""
_COPY_NAME: Final = re.compile(r"schema-(\d+)\.(\d{4}-\d{2}-\d{2})-\d{6}|before-\d+")
_VERSION_OFFSET: Final = 60
"""Of `user_version` in the head of a database's file, in four bytes."""


@dataclass(frozen=True, slots=True)
class SchemaCopy:
    """A copy of a database from before an upgrade. schema: its version."""

    path: Path
    schema: int


def numbered(folder: Path) -> dict[int, Path]:
    """Map numbers to the files `0001_name.sql`, …"""
    return {int(path.name[:4]): path for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))}


def newest_version() -> int:
    """Return the version that this Wick brings a database to."""
    return max(numbered(asset_dir("migrations")))


async def migrate(
    connection: aiosqlite.Connection,
    path: Path,
    folder: Path | None = None,
    copies_kept: int = COPIES_KEPT,
) -> None:
    """Apply what is missing. A database that holds something is copied first, beside `path`.

    Raises DatabaseTooNew when a later version of Wick wrote it, StoreUnusable when it cannot be
    copied, StoreError when a step fails. Then it is as it was before.
    """
    steps = numbered(folder or asset_dir("migrations"))
    version = await _version(connection)
    newest = max(steps)
    if version > newest:
        raise DatabaseTooNew(_too_new_message(path, version, newest))
    if version == newest:
        return
    if version:
        copy = await _copy(connection, path, version)
        log.info("Upgrading the database from schema %d to %d.", version, newest)
        log.info("Before that it was copied into %s.", copy)
    missing = range(version + 1, newest + 1)
    await _apply(connection, {number: steps[number].read_text("utf-8") for number in missing})
    if version:
        await asyncio.to_thread(_remove_oldest, path, copies_kept)


def list_copies(database: Path) -> list[SchemaCopy]:
    """List the copies from before upgrades that lie beside a database, the newest first."""
    found = [
        (match[2] or "", path)
        for path in database.parent.glob(f"{database.name}.*")
        if (match := _COPY_NAME.fullmatch(path.name.removeprefix(f"{database.name}.")))
    ]
    return [SchemaCopy(path, _schema_of(path)) for _, path in sorted(found, reverse=True)]


def new_copy_path(database: Path, version: int) -> Path:
    """Return where a copy of a database of this version is put now."""
    made = datetime.fromtimestamp(time.time(), UTC)
    return database.with_name(f"{database.name}.schema-{version:02}.{made:%Y-%m-%d-%H%M%S}")


def part_of(database: Path) -> Path:
    """Return where a copy of a database is made, until it is whole."""
    return database.with_name(f"{database.name}.copy.part")


def needed_bytes(database: Path) -> int:
    """Return the free bytes that an upgrade takes: a copy of the database, and its log."""
    sizes = [Path(f"{database}{ending}") for ending in ("", "-wal")]
    return sum(path.stat().st_size for path in sizes if path.exists()) + SPARE_BYTES


def _schema_of(path: Path) -> int:
    try:
        with path.open("rb") as file:
            file.seek(_VERSION_OFFSET)
            return int.from_bytes(file.read(4), "big")
    except OSError:  # deleted meanwhile
        return 0


def _too_new_message(path: Path, version: int, newest: int) -> str:
    sentence = (
        f"The database {path} was written by a newer version of Wick (its schema is {version}, "
        f"this Wick knows {newest}). Please update Wick"
    )
    copy = next((copy for copy in list_copies(path) if 0 < copy.schema <= newest), None)
    if copy is None:
        return f"{sentence}, or restore a backup that this version made into another folder."
    return (
        f"{sentence}. Or go back to what was there before the upgrade: put {copy.path} in its place"
        " (docs/operations.md says how)."
    )


async def _version(connection: aiosqlite.Connection) -> int:
    async with connection.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - this pragma always answers
    return int(row[0])


async def _apply(connection: aiosqlite.Connection, steps: dict[int, str]) -> None:
    """Run the steps in one transaction. Raises StoreError with the number of one that fails."""
    parts = [f"{sql}\nPRAGMA user_version = {number};\n" for number, sql in steps.items()]
    try:
        await connection.executescript(f"BEGIN IMMEDIATE;\n{''.join(parts)}COMMIT;")
    except sqlite3.Error as error:
        failed = await _version(connection) + 1  # the steps before it have counted already
        if connection.in_transaction:
            await connection.rollback()
        raise StoreError(
            f"Step {failed} of upgrading the database failed: {error}. The database is as it was."
        ) from error


async def _copy(connection: aiosqlite.Connection, path: Path, version: int) -> Path:
    """Copy a database beside itself, in place of an earlier copy of the same schema."""
    target = new_copy_path(path, version)
    part = part_of(path)
    earlier = {copy.path for copy in list_copies(path) if copy.schema == version}
    try:
        remove_part(part)
        _check_space(path)
        part.touch(mode=0o600)
        async with aiosqlite.connect(part) as copy:
            await connection.backup(copy)
            await copy.execute("PRAGMA journal_mode = DELETE")  # all of it is in one file
            await _check_copy(copy, path)
        await asyncio.to_thread(_finish, part, target)
        for older in earlier - {target}:
            older.unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StoreUnusable(
            f"The database {path} cannot be copied, so it is not upgraded: {why}. Nothing in it has"
            " been changed; the version of Wick that wrote it can still use it."
        ) from error
    finally:
        _try_removing(part)
    return target


def _check_space(path: Path) -> None:
    needed, free = needed_bytes(path), shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreUnusable(
            f"There is too little room on the disk to upgrade the database {path}: it is copied"
            f" first, which takes {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free. Make"
            " room there, then start Wick again. Nothing has been changed."
        )


async def _check_copy(copy: aiosqlite.Connection, path: Path) -> None:
    """Check that a copy is whole: one of a damaged database would push a sound one out."""
    found = [str(row[0]) for row in await copy.execute_fetchall("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise StoreUnusable(
            f"The database {path} is damaged ({found[0].splitlines()[-1]}), so it is not upgraded."
            " Move it away and restore a backup (wick restore)."
        )


def _finish(part: Path, target: Path) -> None:
    """Have the copy under its name only when it is on the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)


def remove_part(part: Path) -> None:
    """Delete a copy that is not whole. Raises OSError."""
    for path in (part, Path(f"{part}-journal")):
        path.unlink(missing_ok=True)


def _try_removing(part: Path) -> None:
    try:
        remove_part(part)
    except OSError as error:
        log.warning("%s could not be deleted: %s", part, error.strerror)


def _remove_oldest(database: Path, kept: int) -> None:
    for copy in list_copies(database)[kept:]:
        try:
            copy.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be deleted: %s", copy.path, error.strerror)
