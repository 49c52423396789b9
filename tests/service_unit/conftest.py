"""Recorders in place of the machine's service managers."""

import os
import stat
from pathlib import Path

import pytest


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put recorders before the machine's programs; the file that they write their words to."""
    folder, record = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    for name in ("systemctl", "journalctl", "launchctl", "tail", "useradd"):
        file = folder / name
        file.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {record}\n'
            f'[ -f {tmp_path}/fails ] && {{ echo "it is masked" >&2; exit 1; }}\nexit 0\n'
        )
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    record.touch()
    return record
