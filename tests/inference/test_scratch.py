"""What a crash leaves in the temporary directory is collected, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from app.inference.scratch import HELD, scratch

HOLD = """
import sys, time
from app.inference.scratch import scratch
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


def test_folders_of_others_stay(temporary: Path) -> None:
    (temporary / "wick-run-mine").mkdir()  # no lock: somebody else's use of the name
    (temporary / "wick-new-abc").mkdir()  # one that just begins
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / HELD).touch()
    (temporary / "wick-run-link").symlink_to(elsewhere)
    with scratch("wick-run-"):
        pass
    assert len(list(temporary.iterdir())) == 4
    assert (elsewhere / HELD).exists()
