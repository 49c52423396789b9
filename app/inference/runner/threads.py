"""Native threads: how many a step gets, and permits that bound them over all runners."""

from __future__ import annotations

import math
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

# Thread permits: native threads in flight never exceed the budget, over ALL runners of a server.
#
# GGML's threads spin at a barrier, so one thread too many on the machine costs a factor of a
# hundred. A permit is an exclusive `flock` on one small file; the kernel gives it back when its
# holder dies, however it dies.


try:
    import fcntl
except ImportError:  # Windows: runners keep to the budget each for itself
    fcntl = None  # type: ignore[assignment,unused-ignore]

ARE_SHARED = fcntl is not None
"""Whether processes can share permits here."""
_POLL_SECONDS = 0.0005  # seconds
TURN_SECONDS = 0.02
"""Seconds after which a long computation gives up its permits for a moment."""


class Permits(Protocol):
    @contextmanager
    def acquire(self, wanted: int) -> Iterator[int]:
        """Wait for one permit, take up to `wanted` if they are free, and yield how many."""


class FilePermits:
    """Permits of one directory, shared by every process that opens it with the same budget.

    Locks belong to open files, so each thread has files of its own; any number of threads may call
    `acquire` of one object.
    """

    def __init__(
        self, directory: Path, budget: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._gate = directory / "gate"
        self._permits = [directory / f"permit-{number}" for number in range(max(1, budget))]
        self._sleep = sleep
        self._local = threading.local()

    @contextmanager
    def acquire(self, wanted: int) -> Iterator[int]:
        files = self._files()
        held: list[int] = []
        try:
            self._take_into(held, files, wanted)
            yield len(held)
        finally:
            for file in held:
                fcntl.flock(file, fcntl.LOCK_UN)

    def hold(self) -> Callable[[], None]:
        """Wait for one permit; return what gives it back, which any thread may call once."""
        files = self._open()
        try:
            self._take_into([], files, 1)
        except BaseException:
            _close(files)
            raise
        return lambda: _close(files)  # and with that unlock them

    def _take_into(self, held: list[int], files: list[int], wanted: int) -> None:
        gate, *permits = files
        # Who waits, waits inside the gate: a thread that lets go of a permit and wants it again
        # at once would otherwise win every time.
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            waited = False
            while not held:
                free = (file for file in permits if try_lock(file))
                # Others are at work when we had to wait: then one thread is our share.
                for file in free:
                    held.append(file)
                    if waited or len(held) >= wanted:
                        break
                if not held:
                    # flock waits for one given file; we want whichever comes free first.
                    waited = True
                    self._sleep(_POLL_SECONDS)
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)

    def _files(self) -> list[int]:
        """Return this thread's own descriptors: the gate, then the permits."""
        files: list[int] | None = getattr(self._local, "files", None)
        if files is None:
            files = self._local.files = self._open()
        return files

    def _open(self) -> list[int]:
        return [open_lock(path) for path in (self._gate, *self._permits)]


class LocalPermits:
    """Permits within one process, for tests, the bench and systems without `flock`."""

    def __init__(self, budget: int) -> None:
        self._free = max(1, budget)
        self._changed = threading.Condition()

    @contextmanager
    def acquire(self, wanted: int) -> Iterator[int]:
        with self._changed:
            waited = self._free < 1
            self._changed.wait_for(lambda: self._free >= 1)
            count = 1 if waited else max(1, min(wanted, self._free))
            self._free -= count
        try:
            yield count
        finally:
            with self._changed:
                self._free += count
                self._changed.notify()


def open_permits(directory: Path, budget: int) -> Permits:
    return FilePermits(directory, budget) if fcntl else LocalPermits(budget)


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def open_lock(path: Path) -> int:
    """Open a file to be locked, and make it where it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(file: int) -> bool:
    """Lock it, unless another has; return whether that worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class LongPermit:
    """Permits of a computation of seconds, which gives them up between its operations.

    Whoever waits for a permit comes next, other runners too. threads: with how many it computes.
    Used by one thread.
    """

    def __init__(
        self, permits: Permits, wanted: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._permits = permits
        self._wanted = wanted
        self._clock = clock
        self._held = ExitStack()
        self.threads = self._got = 0
        self._acquired_at = 0.0

    def __enter__(self) -> LongPermit:
        self._acquire()
        self.threads = self._got
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def give_way(self) -> bool:
        """Let others come first when it is time; False when fewer permits came back than threads
        compute. Then the computation must be begun anew, after `resize`."""
        if self._clock() - self._acquired_at >= TURN_SECONDS:
            self._held.close()
            self._acquire()
        return self._got >= self.threads

    def resize(self) -> None:
        """Compute with as many threads as there are permits from now on."""
        self.threads = self._got

    def _acquire(self) -> None:
        self._got = self._held.enter_context(self._permits.acquire(self.threads or self._wanted))
        self._acquired_at = self._clock()


# How many threads a step gets and how long a prefill slice is, learned from measured steps.
#
# More threads are not always faster: as soon as another program keeps a core busy, GGML's barrier
# spins and a step with all threads takes a hundred times as long. So the pace is measured, never
# assumed, and a step that is far too slow counts at once.


Kind = str
"""Steps whose times can be compared: `prefill`, `decode`, or some finer kind of these."""

_RECENT_STEPS = 5  # steps whose median is the pace: single slow ones are accidents
_MAX_JUMP = 3.0  # a step that much faster than expected counts alone
_COLLAPSE = 30.0  # and one that much slower
_DOUBT_STEPS = 2  # further steps before more threads are believed to be slower than fewer
_PROBE_FIRST, _PROBE_LAST = 1.0, 60.0  # seconds between tries of another number of threads
_SLICE_SECONDS = 0.1
_MIN_SLICE_TOKENS, _MAX_SLICE_TOKENS = 8, 64
BLOCK = 32
"""Tokens: where all slices end at multiples of it, the engine computes the same numbers. It adds up
the attention's values in vectors of that many, and what is left over in another order."""
_BLOCK_SECONDS = (
    1.0  # where no block was ever as quick, shorter slices matter more than same numbers
)


@dataclass(slots=True)
class _ThreadTiming:
    """Timing of one number of threads.

    recent: seconds that one token took; probe_at: when to try again; wait: until then, doubling;
    doubt: steps still wanted before it is given up as the slower one.
    """

    probe_at: float
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_STEPS))
    wait: float = _PROBE_FIRST
    doubt: int = _DOUBT_STEPS + 1

    @property
    def seconds(self) -> float:
        return statistics.median(self.recent)

    def add(self, each: float) -> None:
        if self.recent and not self.seconds / _MAX_JUMP <= each <= self.seconds * _COLLAPSE:
            self.recent.clear()  # its barrier has begun to spin, or does so no more
        self.recent.append(each)


class ThreadTuner:
    """Measured paces of one runner. `clock` counts seconds. Safe to share between threads."""

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts = _thread_counts(threads)
        self._paces: dict[tuple[Kind, int], _ThreadTiming] = {}
        self._quickest = math.inf  # seconds for a token of a prompt, ever
        self._lock = threading.Lock()

    def threads(self, kind: Kind, limit: int) -> int:
        """Choose the number of threads to ask for, at most `limit`."""
        allowed = [count for count in self._counts if count <= limit] or [1]
        with self._lock:
            for count in allowed:
                pace = self._paces.get((kind, count))
                if pace is None:
                    return count
            best = min(allowed, key=lambda count: self._paces[kind, count].seconds)
            return (
                self._retry_candidate(kind, best, allowed)
                or self._probe_candidate(kind, best, allowed)
                or best
            )

    def record(self, kind: Kind, threads: int, tokens: int, seconds: float) -> None:
        """Record that a step of `tokens` took `seconds` with `threads`."""
        with self._lock:
            # The number of permits need not be one of ours: it counts for the next smaller one.
            count = next(c for c in self._counts if c <= max(1, threads))
            each, now = seconds / max(1, tokens), self._clock()
            if kind == "prefill":
                self._quickest = min(self._quickest, each)
            is_new = (kind, count) not in self._paces
            pace = self._paces.setdefault((kind, count), _ThreadTiming(now + _PROBE_FIRST))
            pace.add(each)
            pace.doubt = max(0, pace.doubt - 1)
            if is_new:
                pace.probe_at = now + self._next_wait(kind, count, pace)
            elif now >= pace.probe_at:
                pace.wait = self._next_wait(kind, count, pace)
                pace.probe_at, pace.doubt = now + pace.wait, _DOUBT_STEPS

    def slice_size(self, limit: int) -> int:
        """Count the prompt tokens that take about 0.1 s with the threads chosen for `limit`."""
        with self._lock:
            known = self._known(limit)
        if not known:
            return _MIN_SLICE_TOKENS
        wanted = int(_SLICE_SECONDS / max(min(known), 1e-9))
        return min(_MAX_SLICE_TOKENS, max(_MIN_SLICE_TOKENS, wanted))

    def slice_end(self, past: int, limit: int, *, exact: bool) -> int:
        """Return the end of a slice that begins at `past`. exact: at a multiple of BLOCK, unless
        this machine is too slow for that; what slows it down only for a while changes no numbers.
        """
        wanted = self.slice_size(limit)
        if wanted < BLOCK and not (exact and self._reads_blocks()):
            return past + wanted
        return max(past + wanted, past + BLOCK) // BLOCK * BLOCK

    def _reads_blocks(self) -> bool:
        with self._lock:
            return self._quickest == math.inf or BLOCK * self._quickest <= _BLOCK_SECONDS

    def _known(self, limit: int) -> list[float]:
        """Return the seconds per prompt token, by numbers of threads up to `limit`."""
        return [
            pace.seconds
            for (kind, count), pace in self._paces.items()
            if kind == "prefill" and count <= limit
        ]

    def _retry_candidate(self, kind: Kind, best: int, allowed: list[int]) -> int | None:
        """Choose more threads than the best number that lost by one step: a new runner's first
        steps, and those that a browser's frame came into, are slow by accident.
        """
        most = _MAX_JUMP * self._paces[kind, best].seconds
        for count in (count for count in allowed if count > best):
            pace = self._paces[kind, count]
            if pace.doubt and pace.recent[-1] <= most:
                return count
        return None

    def _probe_candidate(self, kind: Kind, best: int, allowed: list[int]) -> int | None:
        """Choose a neighbour of the best number whose measurement is old."""
        place, now = allowed.index(best), self._clock()
        for neighbour in allowed[max(0, place - 1) : place] + allowed[place + 1 : place + 2]:
            if now >= self._paces[kind, neighbour].probe_at:
                return neighbour
        return None

    def _next_wait(self, kind: Kind, count: int, pace: _ThreadTiming) -> float:
        """Return the seconds until the next probe: bad ones become rare, as a spinning barrier
        costs a second. One of fewer threads is rare at once: it makes a pause twice as long, and
        what makes more of them slower shows by itself, while only a probe shows that it is over.
        """
        paces = {c: p.seconds for (k, c), p in self._paces.items() if k == kind}
        best = min(paces, key=paces.__getitem__)
        if pace.seconds <= 1.5 * paces[best]:
            return _PROBE_FIRST
        return _PROBE_LAST if count < best else min(_PROBE_LAST, pace.wait * 2)


def _thread_counts(threads: int) -> list[int]:
    """List all threads, half of them, and so on down to one."""
    counts = [max(1, threads)]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return counts
