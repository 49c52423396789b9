"""The last lines of a native library's log: the only place that says why a load failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from ctypes import CFUNCTYPE, c_char_p, c_int, c_void_p
from typing import Final

LogCallback = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
MAX_REASON_CHARS: Final = 300


class NativeLog:
    """One of a library, for as long as the process: it may write whenever it is called, also for
    an engine that is closed. levels: those whose lines are kept, None keeps all."""

    def __init__(self, levels: Container[int] | None = None) -> None:
        self._levels = levels
        self._text: deque[str] = deque(maxlen=64)
        self.callback = LogCallback(self._write)

    def clear(self) -> None:
        self._text.clear()

    def reason(self) -> str:
        """The first line that speaks of an error, else the first one, as the end of a sentence."""
        lines = [line.strip() for line in "".join(self._text).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["it gave no reason"])[0][:MAX_REASON_CHARS].rstrip(".") + "."

    def _write(self, level: int, text: bytes | None, _user: object) -> None:
        if self._levels is None or level in self._levels:
            self._text.append((text or b"").decode("utf-8", "replace"))
