"""The doctor finds what is wrong with the data folder itself."""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
import time
from pathlib import Path

import pytest

from app.config import Settings
from app.datadir import ServerInfo
from app.doctor.folder_checks import check_leftovers, check_lock, check_owners
from tests.e2e.server import Server
from tests.recorded.record import HERE

OTHER_USER = 65534


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, models_dir=tmp_path / "models", backup_dir=tmp_path / "backups"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_told_and_given_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.data_dir / "kv" / "model"
    folder.mkdir(parents=True)
    (folder / "chat.kv").touch()
    settings.database.touch()
    assert list(check_owners(settings)) == []
    for path in (settings.database, folder, folder / "chat.kv"):
        os.chown(path, OTHER_USER, OTHER_USER)
    (found,) = check_owners(settings)
    assert found.level == "fault"
    assert "kv/model, wick.db belong to another user" in found.sentence
    with monkeypatch.context() as person:
        person.setattr(os, "geteuid", lambda: 1000)
        (seen,) = check_owners(settings)
        assert seen.fix is None
        assert "sudo chown -R" in seen.sentence
    assert found.fix is not None
    found.fix()
    assert (folder / "chat.kv").stat().st_uid == settings.data_dir.stat().st_uid
    assert list(check_owners(settings)) == []


async def test_an_owner_that_does_not_answer_is_told(settings: Settings) -> None:
    assert [found.level for found in check_lock(settings, None, "")] == ["ok"]
    assert [found.level for found in check_lock(settings, None, "It is broken.")] == ["fault"]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        gone = ServerInfo(7, "wick serve", f"http://127.0.0.1:{silent.getsockname()[1]}")
        (found,) = check_lock(settings, gone, "")
    assert found.level == "fault"
    assert "kill 7" in found.sentence


async def test_an_owner_that_answers_is_well(settings: Settings) -> None:
    server = Server(settings.data_dir, settings.models_dir)
    try:
        await server.start()
        alive = ServerInfo(server.pid, "wick serve", server.origin)
        assert [found.level for found in check_lock(settings, alive, "")] == ["ok"]
    finally:
        await server.close()


def test_what_a_crash_left_is_deleted_once_it_is_old(settings: Settings) -> None:
    with tarfile.open(HERE / "schema-20.tar.xz") as archive:
        archive.extractall(settings.data_dir, filter="data")
    left = [settings.data_dir / name for name in (".copy-x", ".backup-x", ".restore-x")]
    for folder in left:
        folder.mkdir()
        shutil.copy(settings.database, folder)
    files = [
        settings.data_dir / name
        for name in ("pictures/ab/abc.png.1234.tmp", "owner.4711", "backups/.wick-a.zip-x.part")
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    left += files
    kept = [settings.database, settings.data_dir / "owner.json"]
    kept[1].touch()
    assert list(check_leftovers(settings)) == []  # they may be in the making
    old = time.time() - 7200
    for path in (*left, *kept):
        os.utime(path, (old, old))
    (found,) = check_leftovers(settings)
    assert found.level == "note"
    assert found.sentence.startswith("6 files or folders")
    assert found.fix is not None
    found.fix()
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert list(check_leftovers(settings)) == []
