"""`wick chat` in a real pseudo-terminal, and what its screen shows."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

from tests.e2e.server import environment
from tests.forked import ForkedProcess, run_command
from tests.patience import PATIENCE

POLL = 0.05
COMMAND = [sys.executable, "-m", "app", "chat"]
READY = "› Ask anything, or /help"
TEMPORARY = "› Temporary chat: ask anything, or /help"


class Terminal:
    """Terminal of 80 columns by default."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *words: str,
        folder: Path,
        width: int = 80,
        command: str = "chat",
    ) -> None:
        self.screen = pyte.HistoryScreen(width, 40, history=5000)
        self._stream = pyte.ByteStream(self.screen)
        self._descriptor, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, width))
        given = {**environ, "TERM": "xterm-256color"}
        self.process = ForkedProcess([command, *words], given, folder, theirs)
        os.close(theirs)
        self._is_closed = False

    @property
    def text(self) -> str:
        """Scrolled away or not."""
        self._take()
        width = self.screen.columns
        gone = [
            "".join(row[c].data for c in range(width)).rstrip() for row in self.screen.history.top
        ]
        return "\n".join(gone + [line.rstrip() for line in self.screen.display]).rstrip()

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def enter(self, text: str) -> None:
        self.type(text + "\r")

    def sees(self, words: str) -> str:
        """Wait until the screen has these words; all that it has."""
        return self.until(lambda text: words in text, words)

    def is_ready(self, prompt: str = READY) -> str:
        """Wait until the prompt is there, the last thing on the screen."""
        return self.until(lambda text: text.endswith(prompt), prompt)

    def until(self, condition: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while not condition(text := self.text):
            assert time.monotonic() < deadline, f"never saw {what!r} in:\n{text}"
            assert self.process.returncode is None or condition(self.text), (
                f"ended without {what!r}:\n{text}"
            )
        return text

    def interrupt(self) -> None:
        self.type("\x03")

    def ends(self) -> int:
        """The exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.returncode is None and time.monotonic() < deadline:
            self._take()
        self._take()
        code = self.process.returncode
        assert code is not None
        assert code >= 0, code
        return code

    def hang_up(self) -> None:
        """Close it, as one closes its window."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self._descriptor)

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.hang_up()

    def _take(self) -> None:
        """What has been written meanwhile. A real terminal answers where its cursor is."""
        if self._is_closed or not select.select([self._descriptor], [], [], POLL)[0]:
            return
        try:
            data = os.read(self._descriptor, 1 << 16)
        except OSError:  # nobody has it open any more
            time.sleep(POLL)
            return
        if b"\x1b[6n" in data:
            cursor = self.screen.cursor
            self.type(f"\x1b[{cursor.y + 1};{cursor.x + 1}R")
        self._stream.feed(data.replace(b"\x1b[?2026h", b"").replace(b"\x1b[?2026l", b""))


def wick_environment(data: Path, models: Path, **settings: object) -> dict[str, str]:
    given = {"auto_pull": 0, "data_dir": data, "models_dir": models, "threads": 1}
    return environment({**given, **settings}) | {"NO_COLOR": ""}


def piped(
    environ: Mapping[str, str], *words: str, folder: Path, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """`wick chat` in a pipe."""
    return run_command(["chat", *words], dict(os.environ) | dict(environ), folder, said)


def begun(environ: dict[str, str], *words: str, folder: Path) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*COMMAND, *words], cwd=folder, env=environ, stdout=pipe, stderr=pipe)
