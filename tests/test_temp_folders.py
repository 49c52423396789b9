"""Tests of temporary folders: what a crash leaves is collected, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from app.temp_folders import LOCK_NAME, scratch

HOLD = """
import sys, time
from app.temp_folders import scratch
with scratch("wick-run-") as folder:
    (folder / "permit-0").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def held() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_killed_process_leaves_a_folder_that_the_next_one_collects(temporary: Path) -> None:
    killed, left = held()
    living, kept = held()
    assert left.is_dir()
    killed.kill()
    killed.communicate()
    with scratch("wick-run-") as own:
        assert not left.exists()
        assert kept.is_dir()
        assert own.name.startswith("wick-run-")
    living.communicate("")
    assert list(temporary.iterdir()) == []


def test_folders_of_other_programs_stay(temporary: Path) -> None:
    (temporary / "wick-run-mine").mkdir()  # no lock: somebody else's use of the name
    (temporary / "wick-new-abc").mkdir()  # one that just begins
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / LOCK_NAME).touch()
    (temporary / "wick-run-link").symlink_to(elsewhere)
    with scratch("wick-run-"):
        pass
    assert len(list(temporary.iterdir())) == 4
    assert (elsewhere / LOCK_NAME).exists()


LONG_AGO = 1_000_000_000


def older(folder: Path, *names: str, text: str = "") -> Path:
    """A folder as it was left before folders were held by a lock."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(text)
    os.utime(folder, (LONG_AGO, LONG_AGO))
    return folder


def test_folders_left_by_older_versions_are_collected(temporary: Path) -> None:
    older(temporary / "wick-abcd_123", "gate", "permit-0", "permit-1")
    older(temporary / "wick-chat-abcd1234", "wick.db", "wick.db-wal", text="x")
    with scratch("wick-run-"):
        pass
    assert list(temporary.iterdir()) == []


def test_of_older_folders_only_abandoned_ones_of_wicks_shape_go(temporary: Path) -> None:
    older(temporary / "wick-abcd1234", "gate", "notes.txt")
    older(temporary / "wick-efgh1234", "gate", text="something")
    older(temporary / "wick-empty123")
    older(temporary / "wick-chat-efgh1234", "letter.txt")
    older(temporary / "wick-of-candles", "gate")
    (temporary / "wick-new12345").mkdir()
    (temporary / "wick-new12345" / "gate").touch()  # just now
    used = older(temporary / "wick-used1234", "gate", "permit-0")
    before = set(temporary.iterdir())
    with (used / "gate").open(), scratch("wick-run-"):
        pass
    assert set(temporary.iterdir()) == before
    with scratch("wick-run-"):
        pass
    assert set(temporary.iterdir()) == before - {used}
