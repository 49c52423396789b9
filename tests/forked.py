"""Processes of Wick, forked from one that has imported it: importing takes most of a start.

What is forked runs the whole command with an environment, a folder and output of its own. Some
tests of each command start Python anew (`python -m app`): they prove that it imports what it needs.
"""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Final

from tests.patience import PATIENCE

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


class ForkedProcess:
    """Process of a command, with the methods of `asyncio.subprocess.Process` that tests use."""

    def __init__(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        stream: int,
        errors: int | None = None,
        typed: int | None = None,
    ) -> None:
        """Start `wick WORDS` in `folder`; it prints to `stream`, its terminal where that is one.

        errors: where its errors go instead; typed: what it reads.
        """
        streams = [None if one is None else Connection(os.dup(one)) for one in (typed, errors)]
        given = (list(words), dict(environ), folder, Connection(os.dup(stream)), *streams)
        # A daemon is ended with the tests' process.
        self._process: ForkServerProcess = _CONTEXT.Process(target=_run, args=given, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code, or minus the number of the signal that ended it."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def join(self) -> int:
        """Wait for its end; return the exit code."""
        self._process.join(PATIENCE)
        code = self.returncode
        if code is None:
            self._process.kill()
        assert code is not None, "it does not end"
        return code

    async def wait(self) -> int:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        code = self.returncode
        assert code is not None
        return code


def run_command(
    words: Sequence[str], environ: Mapping[str, str], folder: Path, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `wick WORDS` to its end, as in a shell.

    typed: what comes through a pipe, which holds it all.
    """
    reading, writing = os.pipe()
    os.write(writing, typed.encode())
    os.close(writing)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            process = ForkedProcess(words, environ, folder, out.fileno(), errors.fileno(), reading)
        finally:
            os.close(reading)
        code = process.join()
        printed = [_content(file) for file in (out, errors)]
    return subprocess.CompletedProcess(list(words), code, *printed)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _run(
    words: list[str],
    environ: dict[str, str],
    folder: Path,
    stream: Connection,
    typed: Connection | None,
    errors: Connection | None,
) -> None:
    """Become the command, in the process that was forked."""
    from app.cli import main

    multiprocessing.current_process().daemon = False  # which may have processes of its own
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None  # where the environment says
    os.chdir(folder)
    if typed is not None:
        _read_from(typed.fileno())
    _print_to(stream.fileno(), (errors or stream).fileno())
    for one in filter(None, (stream, typed, errors)):
        one.close()
    sys.argv = ["wick", *words]
    sys.exit(main())


def _read_from(stream: int) -> None:
    """Make it what a new Python has as standard input."""
    os.dup2(stream, 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115


def _print_to(stream: int, errors: int) -> None:
    """Make them what a new Python has as standard output; a terminal is the process's own."""
    is_terminal = os.isatty(stream)
    if is_terminal:
        os.setsid()
        fcntl.ioctl(stream, termios.TIOCSCTTY, 0)
        _read_from(stream)
    os.dup2(stream, 1)
    os.dup2(errors, 2)
    sys.stdout = open(1, "w", buffering=1 if is_terminal else -1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
