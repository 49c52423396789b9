"""`wick chat` in a real pseudo-terminal, and what its screen shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pexpect
import pyte

from tests.e2e.server import environment
from tests.patience import PATIENCE

POLL = 0.05
COMMAND = [sys.executable, "-m", "app", "chat"]
READY = "› Ask anything, or /help"


class Terminal:
    """Terminal of 80 columns by default."""

    def __init__(
        self, environ: Mapping[str, str], *words: str, folder: Path, width: int = 80
    ) -> None:
        self.screen = pyte.HistoryScreen(width, 40, history=5000)
        self._stream = pyte.ByteStream(self.screen)
        self.process = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *words],
            cwd=str(folder),
            env={**environ, "TERM": "xterm-256color"},
            dimensions=(40, width),
            timeout=PATIENCE,
        )
        self.process.delaybeforesend = None
        self._answers_to = 0

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
        self.process.send(text)

    def enter(self, text: str) -> None:
        self.type(text + "\r")

    def sees(self, words: str) -> str:
        """Wait until the screen has these words; all that it has."""
        return self.until(lambda text: words in text, words)

    def is_ready(self) -> str:
        """Wait until the prompt is there, the last thing on the screen."""
        return self.until(lambda text: text.endswith(READY), READY)

    def until(self, condition: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while not condition(text := self.text):
            assert time.monotonic() < deadline, f"never saw {what!r} in:\n{text}"
            assert self.process.isalive() or condition(self.text), (
                f"ended without {what!r}:\n{text}"
            )
        return text

    def interrupt(self) -> None:
        self.type("\x03")

    def ends(self) -> int:
        """The exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.isalive() and time.monotonic() < deadline:
            self._take()
        self._take()
        self.process.close(force=True)
        assert self.process.exitstatus is not None, self.process.signalstatus
        return int(self.process.exitstatus)

    def close(self) -> None:
        if self.process.isalive():
            self.process.kill(signal.SIGKILL)
        self.process.close(force=True)

    def _take(self) -> None:
        """What has been written meanwhile. A real terminal answers where its cursor is."""
        if self.process.closed:
            return
        try:
            data = self.process.read_nonblocking(1 << 16, timeout=POLL)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            time.sleep(POLL)
            return
        if b"\x1b[6n" in data:
            cursor = self.screen.cursor
            self.process.send(f"\x1b[{cursor.y + 1};{cursor.x + 1}R")
        self._stream.feed(data.replace(b"\x1b[?2026h", b"").replace(b"\x1b[?2026l", b""))


def wick_environment(data: Path, models: Path, **settings: object) -> dict[str, str]:
    given = {"auto_pull": 0, "data_dir": data, "models_dir": models, "threads": 1}
    return environment({**given, **settings}) | {"NO_COLOR": ""}


def piped(
    environ: Mapping[str, str], *words: str, folder: Path, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """`wick chat` in a pipe."""
    return subprocess.run(
        [*COMMAND, *words],
        input=said,
        cwd=folder,
        env=dict(os.environ) | dict(environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


def begun(environ: dict[str, str], *words: str, folder: Path) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*COMMAND, *words], cwd=folder, env=environ, stdout=pipe, stderr=pipe)
