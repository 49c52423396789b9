"""The doctor finds what is wrong with a database, and changes nothing by looking."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from app.config import Settings
from app.datadir import ServerInfo
from app.db import migrations
from app.db.connection import open_database
from app.db.migrations import list_copies
from app.doctor.database_checks import check_copies, check_database
from app.doctor.findings import Finding
from app.inference import kv_files
from app.models.store import ModelStore
from tests.recorded.record import HERE
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """Settings of a data folder with chats, of the newest schema."""
    with tarfile.open(sorted(HERE.glob("schema-*.tar.xz"))[-1]) as archive:
        archive.extractall(tmp_path, filter="data")
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models")
    async with open_database(settings.database):
        pass
    for copy in list_copies(settings.database):
        copy.path.unlink()
    return settings


def wrong(settings: Settings) -> list[Finding]:
    return [finding for finding in check_database(settings) if finding.level != "ok"]


def execute(settings: Settings, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(settings.database)) as connection, connection:
        connection.execute(sql, values)


def test_a_whole_database_is_left_as_it_is(settings: Settings) -> None:
    before = hashlib.sha256(settings.database.read_bytes()).digest()
    assert wrong(settings) == []
    assert {finding.topic for finding in check_database(settings)} == {
        *("Database", "Search", "Clock"),
    }
    assert hashlib.sha256(settings.database.read_bytes()).digest() == before
    assert not list(settings.data_dir.glob(".copy-*"))


def test_an_index_that_misses_texts_is_made_again(settings: Settings) -> None:
    execute(settings, "DELETE FROM messages_index WHERE rowid = (SELECT max(id) FROM messages)")
    execute(settings, "INSERT INTO messages_index (rowid, text) VALUES (99999, 'walrus')")
    (found,) = wrong(settings)
    assert (found.topic, found.level) == ("Search", "fault")
    assert found.fix is not None
    assert "indexed again" in found.fix()
    assert wrong(settings) == []


def test_a_damaged_database_is_told(settings: Settings) -> None:
    data = bytearray(settings.database.read_bytes())
    data[8192:-4096] = os.urandom(len(data) - 8192 - 4096)
    settings.database.write_bytes(data)
    (found,) = wrong(settings)
    assert found.level == "fault"
    assert "wick restore" in found.sentence
    settings.database.write_bytes(b"no database at all" * 1000)
    assert "wick restore" in wrong(settings)[0].sentence


def test_rows_that_belong_to_nothing_are_told(settings: Settings) -> None:
    count = "SELECT count(*) FROM messages"
    with closing(sqlite3.connect(settings.database)) as connection:
        (before,) = connection.execute(count).fetchone()
    execute(settings, "UPDATE messages SET chat_id = 'nowhere' WHERE id = 1")
    execute(settings, "UPDATE chats SET folder_id = 999 WHERE rowid = 1")
    found = wrong(settings)[0]
    assert "messages" in found.sentence
    assert found.fix is not None
    assert "rows were deleted" in found.fix()
    assert [finding for finding in wrong(settings) if finding.topic == "Database"] == []
    (copy,) = list_copies(settings.database)
    with closing(sqlite3.connect(copy.path)) as connection:  # nothing is lost by mending
        assert connection.execute(count).fetchone() == (before,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() != []
    with closing(sqlite3.connect(settings.database)) as connection:
        assert connection.execute("SELECT folder_id FROM chats WHERE rowid = 1").fetchone() == (
            None,
        )


def test_a_clock_that_went_back_is_told(settings: Settings) -> None:
    execute(settings, "UPDATE messages SET created_at = ? WHERE id = 1", time.time() + 1e6)
    assert [finding.topic for finding in wrong(settings)] == ["Clock"]


@pytest.mark.parametrize(("version", "level"), [(1000, "fault"), (1, "note")])
def test_another_version_is_told(settings: Settings, version: int, level: str) -> None:
    execute(settings, f"PRAGMA user_version = {version}")
    assert [finding.level for finding in wrong(settings)] == [level]


def test_pictures_without_files_are_told(settings: Settings) -> None:
    digest = "ab" * 32
    execute(
        settings,
        "INSERT INTO attachments (user_id, name, kind, media_type, size, digest, text, tokens,"
        " created_at) VALUES (1, 'a', 'image', 'image/png', 1, ?, '', 0, 0)",
        digest,
    )
    (found,) = wrong(settings)
    assert (found.topic, found.level) == ("Pictures", "fault")
    file = settings.data_dir / "pictures" / "ab" / f"{digest}.png"
    file.parent.mkdir(parents=True)
    file.touch()
    assert wrong(settings) == []


def test_no_database_is_no_fault(tmp_path: Path) -> None:
    (found,) = check_database(Settings(data_dir=tmp_path))
    assert found.level == "note"


def test_copies_from_before_upgrades_are_looked_at(settings: Settings) -> None:
    assert list(check_copies(settings, None)) == []
    copy = settings.data_dir / "wick.db.schema-20.2026-11-20-120000"
    shutil.copy(settings.database, copy)
    (found,) = check_copies(settings, None)
    assert (found.level, found.topic) == ("ok", "Upgrades")
    part = settings.data_dir / "wick.db.copy.part"
    part.touch()
    server = ServerInfo(1, "wick serve", "http://127.0.0.1:1")
    assert [found.level for found in check_copies(settings, server)] == ["ok"]
    found, _ = check_copies(settings, None)
    assert found.fix is not None
    found.fix()
    assert not part.exists()
    data = bytearray(copy.read_bytes())
    data[8192:-4096] = os.urandom(len(data) - 8192 - 4096)
    copy.write_bytes(data)
    (found,) = check_copies(settings, None)
    assert found.level == "fault"
    assert copy.name in found.sentence


def test_a_database_of_a_later_version_is_told_with_the_way_back(settings: Settings) -> None:
    copy = settings.data_dir / "wick.db.schema-20.2026-11-20-120000"
    shutil.copy(settings.database, copy)
    execute(settings, "PRAGMA user_version = 1000")
    (found,) = wrong(settings)
    assert str(copy) in found.sentence


def test_too_little_room_for_an_upgrade_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(settings, "PRAGMA user_version = 1")
    monkeypatch.setattr(migrations, "SPARE_BYTES", shutil.disk_usage(settings.data_dir).free)
    assert [(finding.topic, finding.level) for finding in wrong(settings)] == [
        ("Database", "note"),
        ("Disk", "fault"),
    ]


def test_snapshots_of_no_chat_are_deleted(settings: Settings, tmp_path: Path) -> None:
    store = ModelStore(settings.models_dir)
    model = store.install(write_tiny_gguf(tmp_path / "tiny.gguf"), "mine")
    with closing(sqlite3.connect(settings.database)) as connection:
        (chat,) = connection.execute("SELECT id FROM chats").fetchone()
    folder = settings.kv_folder / kv_files.model_key(model.digest, model.size)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (chat, "gone"):
        (folder / f"{kv_files.chat_key(name)}.kv").touch()
    (found,) = (finding for finding in wrong(settings) if finding.topic == "KV snapshots")
    assert found.fix is not None
    found.fix()
    left = {path.stem for path in kv_files.files(settings.kv_folder)}
    assert kv_files.chat_key(chat) in left
    assert kv_files.chat_key("gone") not in left
    assert "KV snapshots" not in {finding.topic for finding in wrong(settings)}
