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
async def test_leaving_after_an_answer(
    terminal: Open, environ: dict[str, str], tmp_path: Path, end: End
) -> None:
    person = terminal(environ)

    def chat() -> None:
        person.is_ready()
        person.enter("a long question " * 12)  # shorter ones are not worth a snapshot
        person.until(lambda text: "30 tokens" in text, "the answer")
        person.is_ready()

    await asyncio.to_thread(chat)
    runners = runners_of(person.process.pid)
    assert len(runners) == 1
    await asyncio.to_thread(leave, person, end)
    await has_ended(person, runners)
    assert statuses(tmp_path) == ["done"]
    assert [file for file in (tmp_path / "data/kv").rglob("*") if file.is_file()]
    assert not (tmp_path / "data/owner.json").exists()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, "closed"])
async def test_leaving_in_mid_answer(
    terminal: Open, endless: dict[str, str], tmp_path: Path, end: End
) -> None:
    person = terminal(endless)

    def chat() -> None:
        person.is_ready()
        person.enter("talk")
        person.until(lambda text: len(text) > 500, "some text")

    await asyncio.to_thread(chat)
    runners = runners_of(person.process.pid)
    assert len(runners) == 1
    await asyncio.to_thread(leave, person, end)
    await has_ended(person, runners)
    assert is_kept(tmp_path)
    assert not (tmp_path / "data/owner.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_more_signals_do_not_cut_the_end_short(
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


def leave(person: Terminal, end: End) -> None:
    if end == "closed":
        person.process.ptyproc.fileobj.close()  # as a terminal whose window is closed
    elif end == "Ctrl-D":
        person.type("\x04")
        assert person.ends() == 0
    else:
        person.process.kill(end)
        assert person.ends() == 143


async def has_ended(person: Terminal, runners: list[int]) -> None:
    for pid in (person.process.pid, *runners):
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
