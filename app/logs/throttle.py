"""A bound on lines of one kind, so that one that repeats pushes nothing else out of the log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 60.0
MAX_LINES: Final = 60
MAX_ROUTINE_LINES: Final = 1200
"""Of one kind in a window: of what should be rare, and of what each request logs."""
MAX_KINDS: Final = 1000
Kind = tuple[str, str, int]
"""Logger, message without its arguments, level."""
OTHER: Final[Kind] = ("", "other lines", 0)


class LineThrottle:
    """Counter of the lines of each kind in one minute, and of those left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._written: Counter[Kind] = Counter()
        self._left_out: Counter[Kind] = Counter()

    def flush(self, *, at_end: bool = False) -> list[tuple[Kind, int]]:
        """Return what was left out of a minute that is over, or now `at_end`."""
        if not at_end and self._clock() < self._until:
            return []
        found = list(self._left_out.items())
        self._until = self._clock() + WINDOW_SECONDS
        self._written.clear()
        self._left_out.clear()
        return found

    def allow(self, kind: Kind, most: int = MAX_LINES) -> bool:
        """Tell whether one more line of this kind may be written."""
        if kind not in self._written and len(self._written) >= MAX_KINDS:
            kind = OTHER
        if self._written[kind] >= most:
            self._left_out[kind] += 1
            return False
        self._written[kind] += 1
        return True
