"""Size of the slice of a prompt that a step reads beside answers, by the times of earlier steps."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Final

RECENT: Final = 9
"""Steps whose median is the gap between two tokens of an answer."""
PAUSE_GAPS: Final = 4
"""Gaps that a step with a slice may take: a pause that is hardly seen in running text."""
PAUSE_SECONDS: Final = 0.2
"""Seconds that it may take at most, where a gap is not half as long already."""
UNKNOWN_PAUSE: Final = 0.08
ALONE_SECONDS: Final = 2.0
"""Seconds of a slice when nobody waits for a token; who comes then waits so long at most. A Stop
interrupts it."""
CONTENDED_SECONDS: Final = 0.1
"""The same while another model's runner waits for a thread."""
FIRST_SLICE: Final = 16
SMALLEST_SLICE: Final = 8
TILE: Final = 16
"""Tokens of a step that are multiplied together; what is left over costs nearly as much."""
GROWTH: Final = 2
"""Times by which a slice may be larger than the one before."""


@dataclass(slots=True)
class _Slices:
    """The last slices of one kind. costs: seconds of one of their tokens."""

    size: int = 0
    costs: deque[float] = field(default_factory=lambda: deque(maxlen=2))


class SlicePacer:
    """Measured steps of one runner. Not safe for threads: only one makes steps.

    Late positions of a prompt cost more than early ones, a busy machine more than a quiet one, and
    a token of a short slice more than one of a long slice. So only the last slices say what the
    next one will cost, and only those with as many threads, beside answers or not.
    """

    def __init__(self) -> None:
        self._gaps: dict[int, deque[float]] = {}
        self._slices: defaultdict[tuple[bool, int], _Slices] = defaultdict(_Slices)

    def record(self, answers: int, read: int, seconds: float, threads: int = 1) -> None:
        """A step took that long for a token of each of `answers` and `read` tokens of a prompt."""
        if not read:
            self._gaps.setdefault(answers, deque(maxlen=RECENT)).append(seconds)
            return
        known = self._slices[answers > 0, threads]
        known.size = read
        rest = max(seconds - self.gap(answers), seconds / 4)
        known.costs.append(rest / read)

    def gap(self, answers: int) -> float:
        """Seconds of a step without a slice; 0 where that is not known."""
        if not answers or not self._gaps:
            return 0.0
        nearest = min(self._gaps, key=lambda known: abs(known - answers))
        return statistics.median(self._gaps[nearest])

    def estimate(self, tokens: int) -> float:
        """Seconds that so many tokens of a prompt take; infinite where that is not known."""
        costs = [cost for known in self._slices.values() for cost in known.costs]
        return tokens * max(costs) if costs else math.inf

    def slice_size(self, answers: int, threads: int = 1, *, is_contended: bool) -> int:
        """Tokens of a prompt for a step in which so many answers go on."""
        known = self._slices[answers > 0, threads]
        if not known.costs:  # of so many threads nothing is known: one may be half as fast as two
            return SMALLEST_SLICE if answers else FIRST_SLICE
        rest = self._seconds(answers, is_contended=is_contended) - self.gap(answers)
        wanted = int(rest / max(*known.costs, 1e-9))
        return max(SMALLEST_SLICE, min(wanted, GROWTH * max(known.size, SMALLEST_SLICE)))

    def _seconds(self, answers: int, *, is_contended: bool) -> float:
        if not answers:
            return CONTENDED_SECONDS if is_contended else ALONE_SECONDS
        gap = self.gap(answers)
        if not gap:
            return UNKNOWN_PAUSE
        return min(PAUSE_GAPS * gap, max(PAUSE_SECONDS, 2 * gap))


def fill_tiles(wanted: int, answers: int) -> int:
    """Return a slice of about `wanted` tokens, at least three quarters of them, that fills the
    tiles of its step together with the answers."""
    total = wanted + answers
    total += total // 8  # the last tokens of a tile cost next to nothing
    for part in (TILE, TILE // 2):
        size = total - total % part - answers
        if size >= 0.75 * wanted:
            return size
    return wanted
