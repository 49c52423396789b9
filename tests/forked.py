"""Processes of Wick, forked from one that has imported it: importing takes most of a start.

What is forked runs the whole command with an environment, a folder and output of its own. Tests of
commands start Python anew (`python -m app`), and so prove that each imports what it needs.
"""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import os
import signal
import sys
import tempfile
import termios
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


class ForkedProcess:
    """Process of a command, with the methods of `asyncio.subprocess.Process` that tests use."""

    def __init__(
        self, words: Sequence[str], environ: Mapping[str, str], folder: Path, stream: int
    ) -> None:
        """Start `wick WORDS` in `folder`; it prints to `stream`, its terminal where that is one."""
        given = (list(words), dict(environ), folder, Connection(os.dup(stream)))
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


def _run(words: list[str], environ: dict[str, str], folder: Path, stream: Connection) -> None:
    """Become the command, in the process that was forked."""
    from app.cli import main

    multiprocessing.current_process().daemon = False  # which may have processes of its own
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None  # where the environment says
    os.chdir(folder)
    _print_to(stream.fileno())
    stream.close()
    sys.argv = ["wick", *words]
    sys.exit(main())


def _print_to(stream: int) -> None:
    """Make it what a new Python has as standard output; a terminal is the process's own."""
    is_terminal = os.isatty(stream)
    if is_terminal:
        os.setsid()
        fcntl.ioctl(stream, termios.TIOCSCTTY, 0)
        os.dup2(stream, 0)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.stdout = open(1, "w", buffering=1 if is_terminal else -1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
