"""`wick chat` ends with its own server, however it is ended: nothing lost, nothing left behind."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from tests.e2e.server import children, command_line, gone
from tests.terminal.conftest import Open
from tests.terminal.terminal import Terminal, begun

End = signal.Signals | Literal["closed", "Ctrl-D"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, "closed", "Ctrl-D"])
async def test_leaving_after_an_answer_keeps_it_and_ends_the_runner(
    terminal: Open, environ: dict[str, str], tmp_path: Path, end: End
) -> None:
    user = terminal(environ)

    def chat() -> None:
        user.is_ready()
        user.enter("a long question " * 12)  # shorter ones are not worth a snapshot
        user.until(lambda text: "30 tokens" in text, "the answer")
        user.is_ready()

    await asyncio.to_thread(chat)
    runners = runners_of(user.process.pid)
    assert len(runners) == 1
    await asyncio.to_thread(leave, user, end)
    await has_ended(user, runners)
    assert statuses(tmp_path) == ["done"]
    assert [file for file in (tmp_path / "data/kv").rglob("*") if file.is_file()]
    assert not (tmp_path / "data/owner.json").exists()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, "closed"])
async def test_leaving_in_mid_answer_stops_it(
    terminal: Open, endless: dict[str, str], tmp_path: Path, end: End
) -> None:
    user = terminal(endless)

    def chat() -> None:
        user.is_ready()
        user.enter("talk")
        user.until(lambda text: len(text) > 500, "some text")

    await asyncio.to_thread(chat)
    runners = runners_of(user.process.pid)
    assert len(runners) == 1
    await asyncio.to_thread(leave, user, end)
    await has_ended(user, runners)
    assert is_kept(tmp_path)
    assert not (tmp_path / "data/owner.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_second_signal_does_not_cut_the_shutdown_short(
    endless: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    with begun(endless, "talk", folder=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.to_thread(process.stdout.read, 10)
        runners = runners_of(process.pid)
        process.send_signal(number)
        while process.poll() is None:
            if not is_kept(tmp_path):
                await asyncio.sleep(0.01)
                continue
            process.send_signal(number)
            break
        assert process.stderr.read() == b""
    assert process.returncode in {143, -number}  # -number: after all was done
    for runner in runners:
        await gone(runner)
    assert is_kept(tmp_path)
    assert not (tmp_path / "data/owner.json").exists()


def leave(user: Terminal, end: End) -> None:
    if end == "closed":
        user.hang_up()
    elif end == "Ctrl-D":
        user.type("\x04")
        assert user.ends() == 0
    else:
        user.process.send_signal(end)
        assert user.ends() == 143


async def has_ended(user: Terminal, runners: list[int]) -> None:
    for pid in (user.process.pid, *runners):
        await gone(pid)


def runners_of(pid: int) -> list[int]:
    return [one for one in children(pid) if "app.inference.runner.main" in command_line(one)]


def is_kept(folder: Path) -> bool:
    """Tell whether an answer has stopped, with its text."""
    with closing(sqlite3.connect(folder / "data/wick.db")) as database:
        (text,) = database.execute("SELECT text FROM messages WHERE role = 'assistant'").fetchone()
    return bool(text) and statuses(folder) == ["stopped"]


def statuses(folder: Path) -> list[str]:
    sql = "SELECT status FROM messages WHERE role = 'assistant'"
    with closing(sqlite3.connect(folder / "data/wick.db")) as database:
        return [status for (status,) in database.execute(sql)]
