"""One process at a time owns a data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.datadir import OWNER_FILE, ServerInfo, lock_data_folder, read_owner
from app.errors import DataFolderInUse

HOLDING = """
import sys
from pathlib import Path
from app.datadir import lock_data_folder
with lock_data_folder(Path(sys.argv[1]), "wick serve") as ownership:
    ownership.publish("http://127.0.0.1:1")
    print("owned", flush=True)
    sys.stdin.read()
"""


def test_the_owner_says_who_it_is_while_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with lock_data_folder(folder, "wick serve") as ownership:
        assert read_owner(folder) == ServerInfo(os.getpid(), "wick serve", "")
        ownership.publish("http://127.0.0.1:8000", "a secret")
        info = ServerInfo(os.getpid(), "wick serve", "http://127.0.0.1:8000", "a secret")
        assert read_owner(folder) == info
        assert "a secret" not in repr(info)
        assert (folder / OWNER_FILE).stat().st_mode & 0o777 == 0o600
    assert read_owner(folder) is None
    with lock_data_folder(folder, "wick chat"):
        pass


def test_another_process_is_refused_in_words_until_the_owner_dies(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"owned\n"
        with pytest.raises(DataFolderInUse) as caught, lock_data_folder(tmp_path, "wick chat"):
            pass
        assert f"“wick serve” (process {process.pid}), which serves them at" in str(caught.value)
        assert read_owner(tmp_path) == ServerInfo(process.pid, "wick serve", "http://127.0.0.1:1")
        process.kill()
    with lock_data_folder(tmp_path, "wick chat"):  # what it left behind means nothing
        assert read_owner(tmp_path) == ServerInfo(os.getpid(), "wick chat", "")


def test_an_unreadable_owner_card_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"pid": 1}', '{"pid": 1, "command": "x", "more": 1}'):
        (tmp_path / OWNER_FILE).write_text(text)
        assert read_owner(tmp_path) is None


def test_a_senseless_owner_card_names_nobody(tmp_path: Path) -> None:
    for text in (b"", b"[]", b"\xff", b"[" * 100_000):
        (tmp_path / OWNER_FILE).write_bytes(text)
        assert read_owner(tmp_path) is None
