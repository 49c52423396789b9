"""Upgrades of a database: it is copied first, changed whole or not at all, and can go back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest

from app.db import migrations
from app.db.connection import open_database
from app.db.migrations import list_copies, migrate, newest_version, numbered, part_of
from app.errors import DatabaseTooNew, StoreError, StoreUnusable
from tests.recorded.record import HERE

OLD = 20
"""A schema that is recorded, and not the newest."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of a database that an earlier version left."""
    with tarfile.open(HERE / f"schema-{OLD}.tar.xz") as archive:
        archive.extractall(tmp_path / "data", filter="data")
    return tmp_path / "data" / "wick.db"


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def dump(path: Path) -> list[str]:
    """All that is in a database, without the search indexes, which can't be dumped so."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            *map(repr, connection.execute("SELECT * FROM chats ORDER BY id")),
            *map(repr, connection.execute("SELECT * FROM messages ORDER BY id")),
        ]


async def upgrade(path: Path, kept: int = 3) -> None:
    async with open_database(path, kept):
        pass


async def refuse(path: Path) -> str:
    with pytest.raises(StoreUnusable) as refused:
        await upgrade(path)
    assert "\n" not in str(refused.value)
    assert version_of(path) == OLD
    return str(refused.value)


async def test_an_upgrade_leaves_a_copy_that_the_older_version_can_use(path: Path) -> None:
    before = dump(path)
    await upgrade(path)
    (copy,) = list_copies(path)
    assert copy.path.name.startswith(f"wick.db.schema-{OLD}.20")
    assert (copy.schema, version_of(copy.path)) == (OLD, OLD)
    assert copy.path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("*.part*"))
    for ending in ("", "-wal", "-shm"):  # as docs/operations.md has it
        Path(f"{path}{ending}").unlink(missing_ok=True)
    shutil.move(copy.path, path)
    assert dump(path) == before
    await upgrade(path)
    assert version_of(path) == newest_version()


async def test_a_new_database_and_one_of_today_are_not_copied(tmp_path: Path) -> None:
    for _ in range(2):
        await upgrade(tmp_path / "new.db")
    assert list_copies(tmp_path / "new.db") == []


async def test_copies_are_bounded_and_one_of_a_schema_stays(path: Path) -> None:
    older = [path.with_name(f"wick.db.schema-{n}.2026-01-{n}-120000") for n in (17, 18, 19, OLD)]
    strange = [path.with_name(f"wick.db.{name}") for name in ("schema-18", "mine", "schema-9.bak")]
    old_name = path.with_name("wick.db.before-9")
    for file in (*older, *strange, old_name):
        shutil.copy(path, file)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(
                f"PRAGMA user_version = {older.index(file) + 17}"
                if file in older
                else "PRAGMA user_version = 8"
            )
    await upgrade(path, kept=2)
    assert [copy.schema for copy in list_copies(path)] == [OLD, 19]
    assert not older[-1].exists()  # the newer copy of the same schema took its place
    assert all(file.exists() for file in strange)
    assert not old_name.exists()


async def test_an_upgrade_is_refused_where_it_cannot_be_copied(path: Path) -> None:
    part_of(path).mkdir()
    assert "cannot be copied, so it is not upgraded" in await refuse(path)
    part_of(path).rmdir()
    part_of(path).write_bytes(b"the rest of a copy that was cut off")
    await upgrade(path)
    assert len(list_copies(path)) == 1
    assert not part_of(path).exists()


async def test_an_upgrade_is_refused_with_too_little_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "SPARE_BYTES", shutil.disk_usage(path.parent).free)
    sentence = await refuse(path)
    assert "too little room" in sentence
    assert "Make room there, then start Wick again" in sentence
    assert not list(path.parent.glob("wick.db.*"))


async def test_a_damaged_database_pushes_no_sound_copy_out(path: Path) -> None:
    sound = path.with_name(f"wick.db.schema-{OLD}.2026-01-02-120000")
    shutil.copy(path, sound)
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'messages'"
        page = connection.execute(sql).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))
    assert "wick restore" in await refuse(path)
    assert [copy.path for copy in list_copies(path)] == [sound]


async def test_a_failing_step_undoes_all_of_them_and_leaves_the_copy(tmp_path: Path) -> None:
    folder, path = tmp_path / "steps", tmp_path / "some.db"
    folder.mkdir()
    (folder / "0001_one.sql").write_text("CREATE TABLE one (x INTEGER);")
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await migrate(connection, path, folder)
        await connection.execute("INSERT INTO one VALUES (7)")
        (folder / "0002_two.sql").write_text("CREATE TABLE two (x INTEGER);")
        (folder / "0003_three.sql").write_text("CREATE TABLE three (x INTEGER); CREATE BROKEN;")
        for _ in range(3):  # as often as copies are kept
            with pytest.raises(StoreError, match="Step 3"):
                await migrate(connection, path, folder)
        rows = await connection.execute_fetchall("SELECT name FROM sqlite_master")
        assert [row[0] for row in rows] == ["one"]
        assert version_of(path) == 1
    (copy,) = list_copies(path)
    with closing(sqlite3.connect(copy.path)) as database:
        assert database.execute("SELECT x FROM one").fetchall() == [(7,)]


async def test_a_database_of_a_later_version_is_refused_by_a_line_that_names_the_copy(
    path: Path,
) -> None:
    await upgrade(path)
    (copy,) = list_copies(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(DatabaseTooNew, match="newer version of Wick") as refused:
        await upgrade(path)
    assert str(copy.path) in str(refused.value)
    assert "\n" not in str(refused.value)
    copy.path.unlink()
    with pytest.raises(DatabaseTooNew, match="restore a backup"):
        await upgrade(path)


def test_migrations_are_numbered_without_gaps() -> None:
    folder = Path(__file__).parents[2] / "migrations"
    steps = numbered(folder)
    assert len(steps) == len(list(folder.iterdir()))  # no two have one number
    assert list(steps) == list(range(1, len(steps) + 1))
