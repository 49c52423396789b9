"""When a load that failed may be tried again: 1 s later, then 2, 4 … 60."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

MIN_SECONDS: Final = 1.0
MAX_SECONDS: Final = 60.0


class Backoff:
    """`error` is what went wrong the last time, None after a success. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pause = 0.0
        self._until = 0.0
        self.error: str | None = None

    def failed(self, error: str, *, waits: bool) -> None:
        """waits: whether trying again is dear; else only the error is remembered."""
        self.error = error
        self._pause = min(MAX_SECONDS, max(MIN_SECONDS, 2 * self._pause)) if waits else 0.0
        self._until = self._clock() + self._pause

    def reset(self) -> None:
        """It worked, or a person wants a try now."""
        self.error, self._pause, self._until = None, 0.0, 0.0

    def allow_now(self) -> None:
        """Try now; if that fails too, the pause grows all the same."""
        self._until = 0.0

    def retry_message(self) -> str | None:
        """The sentence for who comes too early; None when a try may be made."""
        left = self._until - self._clock()
        if self.error is None or left <= 0:
            return None
        seconds = math.ceil(left)
        return f"{self.error} It can be tried again in {seconds} second{'s'[: seconds > 1]}."
