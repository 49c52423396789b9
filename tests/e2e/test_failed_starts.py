"""What `wick serve` and other commands say when they cannot begin."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from app.db.connection import open_database
from tests.e2e.server import Server, environment, free_port
from tests.forked import run_command
from tests.patience import PATIENCE


async def serve(folder: Path, **settings: object) -> tuple[int, str]:
    return await wick(folder, "serve", **settings)


async def wick(folder: Path, *command: str, **settings: object) -> tuple[int, str]:
    """The exit code and everything that was printed, of a start that fails."""
    done = await asyncio.to_thread(run_command, command, environ(folder, **settings), folder)
    return done.returncode, done.stdout + done.stderr


def environ(folder: Path, **settings: object) -> dict[str, str]:
    given = {"auto_pull": 0, "data_dir": folder, "models_dir": folder / "models"}
    return environment(given | settings)


def wick_anew(folder: Path, *command: str) -> tuple[int, str]:
    """The same of a process that imports all it needs by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "app", *command],
        cwd=folder,
        env=environ(folder, port=free_port()),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "eighty"),
        ("port", "70000"),
        ("threads", "0"),
        ("slots", "-1"),
        ("auto_pull", "perhaps"),
        ("host", "256.256.256.256"),
        ("colour", "blue"),
        ("data_dir", "/proc/nowhere"),
    ],
)
async def test_a_wrong_setting_is_reported_in_one_line_with_exit_code_2(
    tmp_path: Path, name: str, value: str
) -> None:
    code, printed = await serve(tmp_path, **{"port": free_port(), name: value})
    assert code == 2
    assert len(printed.splitlines()) == 1
    assert f"WICK_{name.upper()}" in printed
    if name != "colour":
        assert value in printed


async def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path, server: Server) -> None:
    code, printed = await serve(tmp_path, port=server.port)
    assert is_one_line(code, printed, f"Port {server.port} is in use already.")


def is_one_line(code: int, printed: str, part: str) -> bool:
    """Whether that is how a start that fails ends."""
    assert (code, len(printed.splitlines())) == (2, 1), printed
    assert printed.startswith("wick: ")
    return part in printed


def random_bytes(path: Path) -> None:
    path.write_bytes(b"This is no database at all. " * 1000)


def cut_short(path: Path) -> None:
    made_by_wick(path)
    path.write_bytes(path.read_bytes()[:9000])


def overwritten(path: Path) -> None:
    """All but the head of its first page."""
    made_by_wick(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))


def of_another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (title TEXT)")
        other.commit()


def numbered_by_another_application(path: Path) -> None:
    of_another_application(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 3")


def of_a_later_version(path: Path) -> None:
    made_by_wick(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 1000")


def a_folder(path: Path) -> None:
    path.mkdir()


def made_by_wick(path: Path) -> None:
    async def make() -> None:
        async with open_database(path):
            pass

    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(asyncio.run, make()).result()


DATABASES: dict[Callable[[Path], None], str] = {
    random_bytes: "is no database",
    cut_short: "is damaged",
    overwritten: "is damaged",
    of_another_application: "belongs to another application",
    numbered_by_another_application: "belongs to another application",
    of_a_later_version: "written by a newer version of Wick",
    a_folder: "cannot be opened",
}


@pytest.mark.parametrize("make", DATABASES)
@pytest.mark.parametrize(
    "command", [["serve"], ["chat", "hello"], ["user", "list"]], ids=lambda c: c[0]
)
async def test_an_unusable_database_is_reported_in_one_line(
    tmp_path: Path, make: Callable[[Path], None], command: list[str]
) -> None:
    database = tmp_path / "wick.db"
    make(database)
    before = database.read_bytes() if database.is_file() else b""
    code, printed = await wick(tmp_path, *command, port=free_port())
    assert is_one_line(code, printed, DATABASES[make])
    assert str(database) in printed
    if database.is_file() and make is not of_a_later_version:
        assert database.read_bytes() == before, "what is not understood is not touched"


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_a_command_that_fails_imports_what_it_needs(tmp_path: Path, command: str) -> None:
    random_bytes(tmp_path / "wick.db")
    words = [command] if command == "serve" else [command, "hello"]
    assert is_one_line(*wick_anew(tmp_path, *words), "is no database")


@pytest.mark.parametrize("what", ["cert", "key"])
async def test_unusable_tls_files_are_reported_in_one_line(tmp_path: Path, what: str) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    code, printed = await serve(tmp_path, port=free_port(), tls_cert=bad, tls_key=bad)
    assert is_one_line(code, printed, "no certificate in PEM")
    code, printed = await serve(tmp_path, port=free_port(), **{f"tls_{what}": bad})
    assert is_one_line(code, printed, f"WICK_TLS_{what.upper()} also needs")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None], ids=["binary", "folder"])
async def test_an_unreadable_settings_file_is_reported_in_one_line(
    tmp_path: Path, content: bytes | None
) -> None:
    settings = tmp_path / ".env"
    settings.mkdir() if content is None else settings.write_bytes(content)
    code, printed = await serve(tmp_path, port=free_port())
    assert is_one_line(code, printed, ".env cannot be read")


@pytest.mark.parametrize("file", ["audit.log", "wick.lock", "owner.json", "models"])
async def test_a_file_of_the_wrong_kind_is_reported_in_one_line(tmp_path: Path, file: str) -> None:
    if file == "models":
        (tmp_path / file).write_text("no folder")
    else:
        (tmp_path / file).mkdir()
        (tmp_path / file / "inside").touch()
    code, printed = await serve(tmp_path, port=free_port())
    assert is_one_line(code, printed, str(tmp_path / file))


@pytest.mark.parametrize("command", [["user", "list"], ["key", "list"], ["chat", "hi"]])
async def test_commands_report_an_unusable_data_folder_in_one_line(
    tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "taken").write_text("no folder")
    given = {"data_dir": tmp_path / "taken" / "data", "models_dir": tmp_path / "taken"}
    code, printed = await wick(tmp_path, *command, **given)
    assert is_one_line(code, printed, str(tmp_path / "taken"))
