"""The doctor finds what is wrong around the chats."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from app.cli import main
from app.config import Settings
from app.datadir import ServerInfo, lock_data_folder
from app.doctor import machine_checks
from app.doctor.findings import Finding
from tests.e2e.server import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir(mode=0o700)
    return Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models")


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def test_a_folder_that_others_can_read_is_closed(settings: Settings) -> None:
    assert levels(list(machine_checks.check_folder(settings, None))) == ["ok"]
    settings.data_dir.chmod(0o755)
    *_, found = machine_checks.check_folder(settings, None)
    assert found.level == "fault"
    assert found.fix is not None
    found.fix()
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700


def test_unfinished_snapshots_are_deleted_unless_a_server_writes_them(settings: Settings) -> None:
    part = settings.kv_folder / "model" / "chat.part"
    part.parent.mkdir(parents=True)
    part.touch()
    server = ServerInfo(1, "wick serve", "http://127.0.0.1:1")
    assert levels(list(machine_checks.check_snapshots(settings, server))) == ["ok"]
    found, _ = machine_checks.check_snapshots(settings, None)
    assert found.fix is not None
    found.fix()
    assert not part.exists()


def test_damaged_models_are_named(settings: Settings) -> None:
    folder = settings.models_dir / "broken"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{")
    found, summary = machine_checks.check_models(settings)
    assert found.level == "fault"
    assert "broken" in found.sentence
    assert summary.level == "ok"


def test_both_engines_load_here() -> None:
    assert levels(list(machine_checks.check_engines())) == ["ok", "ok"]


def test_a_port_in_use_is_told(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Settings(port=other.getsockname()[1])
        assert levels(list(machine_checks.check_port(taken, None))) == ["fault"]
        server = ServerInfo(1, "wick serve", "http://127.0.0.1:1")
        assert levels(list(machine_checks.check_port(taken, server))) == ["ok"]


def test_old_backups_are_told(settings: Settings, tmp_path: Path) -> None:
    assert levels(list(machine_checks.check_backups(settings))) == ["note"]
    kept = Settings(data_dir=settings.data_dir, backup_dir=tmp_path)
    backup = tmp_path / "wick-2026-01-01-000000.zip"
    backup.touch()
    assert levels(list(machine_checks.check_backups(kept))) == ["ok"]
    os.utime(backup, (0, time.time() - 3 * 86400))
    assert levels(list(machine_checks.check_backups(kept))) == ["note"]


def test_the_command_mends_only_while_no_server_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("WICK_PORT", str(free_port()))
    monkeypatch.setattr(machine_checks, "check_engines", lambda: iter(()))
    settings.data_dir.chmod(0o755)
    assert main(["doctor"]) == 1
    assert "wick doctor --fix" in capsys.readouterr().out
    with lock_data_folder(settings.data_dir, "wick serve") as ownership:
        ownership.publish("http://127.0.0.1:1")
        assert main(["doctor", "--fix"]) == 1
        assert "Stop it first" in capsys.readouterr().out
    assert main(["doctor", "--fix"]) == 0
    assert "Only you can read" in capsys.readouterr().out
    assert main(["doctor"]) == 0


def test_a_disk_that_takes_no_more_files_or_bytes_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "fault" not in levels(list(machine_checks.check_disk(settings)))
    free = os.statvfs(settings.data_dir).f_favail
    monkeypatch.setattr(machine_checks, "LOW_FILES", free + 1_000_000)
    if os.statvfs(settings.data_dir).f_files:
        assert "any more files" in list(machine_checks.check_disk(settings))[-1].sentence
    monkeypatch.setattr(machine_checks, "FULL_BYTES", 1 << 60)
    assert "Nothing can be saved" in next(machine_checks.check_disk(settings)).sentence


def test_a_lock_that_cannot_be_had_is_a_fault_like_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("WICK_PORT", str(free_port()))
    monkeypatch.setattr(machine_checks, "check_engines", lambda: iter(()))
    (settings.data_dir / "wick.lock").mkdir()
    settings.data_dir.chmod(0o755)
    assert main(["doctor", "--fix"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "cannot be locked" in said
    assert "Nothing was mended" in said
    assert settings.data_dir.stat().st_mode & 0o777 == 0o755
