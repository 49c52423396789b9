"""How many threads a step gets and how long a prefill slice is, learned from measured steps.

More threads are not always faster: as soon as another program keeps a core busy, GGML's barrier
spins and a step with all threads takes a hundred times as long. So the pace is measured, never
assumed, and a step that is far too slow counts at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["prefill", "decode"]

_WEIGHT = 0.1  # of the newest step in the average
_LEAP = 3.0  # a step that much faster than expected replaces the average
_PROBE_FIRST, _PROBE_LAST = 1.0, 60.0  # seconds between tries of another number of threads
_SLICE_SECONDS = 0.1
_SLICE_SMALLEST, _SLICE_LARGEST = 8, 64


@dataclass(slots=True)
class _Pace:
    """seconds: what one token takes; probe_at: when to try again; wait: until then, doubling."""

    seconds: float
    probe_at: float
    wait: float = _PROBE_FIRST


class Pacer:
    """The measured paces of one runner. `clock` counts seconds. Safe to share between threads."""

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts = _halvings(threads)
        self._paces: dict[tuple[Kind, int], _Pace] = {}
        self._lock = threading.Lock()

    def threads(self, kind: Kind, limit: int) -> int:
        """The number of threads to ask for, at most `limit`."""
        allowed = [count for count in self._counts if count <= limit] or [1]
        with self._lock:
            for count in allowed:
                pace = self._paces.get((kind, count))
                if pace is None:
                    return count
            best = min(allowed, key=lambda count: self._paces[kind, count].seconds)
            return self._due(kind, best, allowed) or best

    def record(self, kind: Kind, threads: int, tokens: int, seconds: float) -> None:
        """A step of `tokens` took that long with `threads`."""
        with self._lock:
            # The number of permits need not be one of ours: it counts for the next smaller one.
            count = next(c for c in self._counts if c <= max(1, threads))
            each, now = seconds / max(1, tokens), self._clock()
            pace = self._paces.get((kind, count))
            if pace is None:
                self._paces[kind, count] = _Pace(each, now + _PROBE_FIRST)
                return
            if each < pace.seconds / _LEAP:
                pace.seconds = each  # what had slowed it down is over
            else:
                # One slow step is an accident (a browser drew a frame); steps that take a hundred
                # times as long raise the average above all others at once.
                pace.seconds += _WEIGHT * (each - pace.seconds)
            if now >= pace.probe_at:
                pace.wait = self._next_wait(kind, count, pace)
                pace.probe_at = now + pace.wait

    def slice_size(self, limit: int) -> int:
        """Prompt tokens that take about a tenth of a second with the threads chosen for `limit`."""
        with self._lock:
            known = [
                pace.seconds
                for (kind, count), pace in self._paces.items()
                if kind == "prefill" and count <= limit
            ]
        if not known:
            return _SLICE_SMALLEST
        wanted = int(_SLICE_SECONDS / max(min(known), 1e-9))
        return min(_SLICE_LARGEST, max(_SLICE_SMALLEST, wanted))

    def _due(self, kind: Kind, best: int, allowed: list[int]) -> int | None:
        """A neighbour of the best number whose measurement is old."""
        place, now = allowed.index(best), self._clock()
        for neighbour in allowed[max(0, place - 1) : place] + allowed[place + 1 : place + 2]:
            if now >= self._paces[kind, neighbour].probe_at:
                return neighbour
        return None

    def _next_wait(self, kind: Kind, count: int, pace: _Pace) -> float:
        """Tries that go badly become rare: where the barrier spins, one costs a second."""
        paces = [p.seconds for (k, _), p in self._paces.items() if k == kind]
        failed = pace.seconds > 1.5 * min(paces)
        return min(_PROBE_LAST, pace.wait * 2) if failed else _PROBE_FIRST


def _halvings(threads: int) -> list[int]:
    """All threads, half of them, and so on down to one."""
    counts = [max(1, threads)]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return counts
