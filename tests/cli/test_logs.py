"""`wick logs`: what it shows of the files, and that it follows them in a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.cli import main
from app.cli.logs import parse_since
from app.errors import ConfigError
from app.logs.files import LogFile
from app.logs.lines import LogLine
from tests.e2e.server import environment
from tests.patience import PATIENCE
from tests.terminal.terminal import Terminal

NOW = datetime.now(UTC)
LINES = (
    LogLine(NOW - timedelta(hours=3), "info", "app", "It began."),
    LogLine(NOW - timedelta(minutes=5), "warning", "app", "It is slow.", request="request-1"),
    LogLine(NOW, "error", "app", "It failed.", request="request-2", trace=["ValueError"]),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path))
    with closing(LogFile(tmp_path, 1000)) as file:  # so that there are several
        for line in LINES:
            file.write(line)
    return tmp_path


Shown = Callable[..., list[str]]


@pytest.fixture
def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> Shown:
    def run(*words: str) -> list[str]:
        assert main(["logs", *words]) == 0
        return capsys.readouterr().out.splitlines()

    assert len(list((folder / "logs").iterdir())) > 1
    return run


def test_lines_are_chosen_by_time_level_request_and_number(shown: Shown) -> None:
    began, slow, failed, trace = shown()
    assert "INFO    It began." in began
    assert "WARNING It is slow. [request-1]" in slow
    assert "ERROR   It failed. [request-2]" in failed
    assert trace == "ValueError"
    assert shown("--since", "1h") == [slow, failed, trace]
    assert shown("--level", "error") == [failed, trace]
    assert shown("--request", "request-1") == [slow]
    assert shown("-n", "1") == [failed, trace]
    assert shown("-n", "0") == []
    found = [json.loads(line) for line in shown("--json")]
    assert [line["message"] for line in found] == ["It began.", "It is slow.", "It failed."]


def test_a_time_is_parsed(shown: Shown) -> None:
    assert parse_since("2h", NOW) == NOW - timedelta(hours=2)
    local = datetime(2026, 11, 29, 6, 30).astimezone(UTC)
    assert parse_since("2026-11-29T06:30", NOW) == local
    assert parse_since("2026-11-29 06:30+00:00", NOW).hour == 6
    for wrong in ("yesterday", "h", "-3h", "99999999d", ""):
        with pytest.raises(ConfigError, match="takes 10m, 2h or 3d"):
            parse_since(wrong, NOW)
    assert main(["logs", "--since", "soon"]) == 2


def test_no_log_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path / "none"))
    assert main(["logs"]) == 1
    assert "Nothing has been logged" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    with closing(LogFile(folder, 1 << 24)) as file:
        for number in range(5000):
            file.write(LogLine(NOW, "info", "app", f"line {number} {'x' * 50}"))
    command = f"{sys.executable} -m app logs -n 5000 | head -1"
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        capture_output=True,
        text=True,
        env=environment({"data_dir": folder}),
        check=True,
    )
    assert "line 0" in done.stdout
    assert "Traceback" not in done.stderr


def test_it_follows_in_a_terminal_until_ctrl_c(folder: Path) -> None:
    with closing(
        Terminal(environment({"data_dir": folder}), "-f", folder=folder, command="logs")
    ) as terminal:
        terminal.sees("It failed.")
        with closing(LogFile(folder, 1000)) as file:
            for number in range(8):
                file.write(LogLine(NOW, "warning", "app", f"news {number}"))
        terminal.sees("news 7")
        assert terminal.text.count("news 3") == 1
        terminal.type("\x03")
        until = time.monotonic() + PATIENCE
        while terminal.process.returncode is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert terminal.process.returncode == 130
        assert "Traceback" not in terminal.text
