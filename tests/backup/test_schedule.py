"""Backups are made once a day, the newest stay, and a failure is told to owners."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app import age
from app.backup.archive import verify_backup
from app.backup.schedule import DAY_SECONDS, BackupSchedule
from app.config import Settings
from app.db.connection import open_database
from tests.e2e.server import Server
from tests.patience import PATIENCE


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    settings = Settings(
        data_dir=tmp_path / "data", backup_dir=tmp_path / "data" / "backups", backups_kept=2
    )
    async with open_database(settings.database):
        pass
    return settings


async def test_one_is_made_each_day_and_the_newest_stay(settings: Settings) -> None:
    assert settings.backup_dir
    now = [1767225600.0]
    schedule = BackupSchedule(settings, clock=lambda: now[0])
    assert schedule.newest() is None
    names = []
    for _ in range(4):
        await schedule.make_due()
        await schedule.make_due()
        *_, newest = sorted(settings.backup_dir.iterdir())
        os.utime(newest, (now[0], now[0]))
        names.append(newest.name)
        (settings.backup_dir / "wick-notes.zip").touch()
        os.utime(settings.backup_dir / "wick-notes.zip", (0, 0))
        (settings.backup_dir / "wick-notes.zip").rename(settings.backup_dir / "0-notes.zip")
        now[0] += DAY_SECONDS
    assert sorted(p.name for p in settings.backup_dir.iterdir()) == ["0-notes.zip", *names[-2:]]
    assert set(verify_backup(settings.backup_dir / names[-1]).files) == {"wick.db"}
    assert schedule.newest() == now[0] - DAY_SECONDS
    assert schedule.failure == ""


async def test_one_is_encrypted_where_a_file_has_the_passphrase(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(age, "WORK_FACTOR", 4)
    file, now = tmp_path / "words", [1767225600.0]
    settings = replace(settings, backup_passphrase_file=file)
    assert settings.backup_dir
    schedule = BackupSchedule(settings, clock=lambda: now[0])
    await schedule.make_due()
    assert "words with the passphrase cannot be read" in schedule.failure
    assert list(settings.backup_dir.iterdir()) == []
    file.write_text("four words in a row\n")
    for _ in range(3):
        await schedule.make_due()
        assert schedule.failure == ""
        *_, newest = sorted(settings.backup_dir.iterdir())
        os.utime(newest, (now[0], now[0]))
        now[0] += DAY_SECONDS
    assert len(list(settings.backup_dir.iterdir())) == 2
    assert set(verify_backup(newest, "four words in a row").files) == {"wick.db"}


async def test_a_failure_is_told_until_one_succeeds(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data" / "backups").write_text("no folder")
    changes = []
    schedule = BackupSchedule(settings, changed=lambda: changes.append(schedule.failure))
    await schedule.make_due()
    await schedule.make_due()
    assert schedule.failure.startswith("The daily backup failed: ")
    (tmp_path / "data" / "backups").unlink()
    await schedule.make_due()
    assert schedule.failure == ""
    assert len(changes) == 2


async def test_the_page_of_a_running_server_shows_both(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "full").write_text("no folder")
    for place, expected in (("full", "failed"), ("good", "just now")):
        server = Server(
            tmp_path / "data", tmp_path / "models", accounts="off", backup_dir=tmp_path / place
        )
        await server.start()
        try:
            with httpx.Client(base_url=server.origin, timeout=PATIENCE) as client:
                page = ""
                while expected not in page:
                    page = client.get("/status/figures").raise_for_status().text
                chats = client.get("/").text
                assert ("The daily backup failed" in chats) == (place == "full")
                assert "Last good one" in page
        finally:
            await server.stop()
