"""Progress of a pull, in numbers and in words, and cancellation of its work in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, TypeVar

from app.errors import PullError

Stage = Literal["downloading", "receiving", "checking", "installing"]
ProgressCallback = Callable[[Stage, int, int], None]
"""Hears the stage, and bytes done and to do; 0 to do means that nobody knows."""
SPEED_WINDOW_SECONDS: Final = 5.0
"""Speed is measured over this long: steady enough to read, soon true after a change."""
MIN_SAMPLES: Final = 0.5
Result = TypeVar("Result")
_THREADS: Final = ThreadPoolExecutor(32, thread_name_prefix="pull")
"""Their own: this work takes minutes, and of the threads of asyncio, which every page needs for a
moment, a small machine has half a dozen."""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """Progress of a stage: bytes done and total (0 while unknown), and bytes per second.

    detail: which file it is, where Wick chose it.
    """

    stage: Stage
    done: int
    total: int
    speed: float | None = None
    detail: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Estimate the seconds left of this stage."""
        if not self.speed or not self.total:
            return None
        return max(self.total - self.done, 0) / self.speed

    @property
    def description(self) -> str:
        """Describe the progress: `downloading, 41 of 98 MB, 5.2 MB/s, about 11 s left`."""
        stage = f"{self.stage} {self.detail}" if self.detail else self.stage
        if not self.total and not self.done:
            return f"{stage}…"
        done = f"{self.done / 1e6:,.0f}"
        parts = [
            stage,
            f"{done} of {self.total / 1e6:,.0f} MB" if self.total else f"{done} MB",
        ]
        if self.speed is not None and self.stage in ("downloading", "receiving"):
            parts.append(f"{self.speed / 1e6:,.1f} MB/s")
            if self.seconds_left:
                parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Format a duration for display: `11 s`, `4 min`, `1 h 20 min`."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class ProgressTracker:
    """Tracker of one pull: turns bytes done into progress with a speed."""

    def __init__(
        self, report: Callable[[PullProgress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self.detail = ""
        self._stage: Stage | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def report(self, stage: Stage, done: int, total: int) -> None:
        now = self._clock()
        if stage != self._stage or (self._seen and done < self._seen[-1][1]):
            self._stage = stage
            self._seen.clear()
        if not done and not total:  # nothing is known yet, not even what is there already
            self._report(PullProgress(stage, 0, 0, detail=self.detail))
            return
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > SPEED_WINDOW_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        speed = (done - before) / (now - since) if now - since >= MIN_SAMPLES else None
        self._report(PullProgress(stage, done, total, speed, self.detail))


class CancelToken(threading.Event):
    """Flag that is set when nobody needs the work any more."""

    def check(self) -> None:
        """Raises PullError once it is set."""
        if self.is_set():
            raise PullError("It was cancelled.")


async def run_cancellable(work: Callable[[CancelToken], Result]) -> Result:
    """Run `work` in a thread and return its result.

    When cancelled, sets the `CancelToken` of `work` and waits until it has ended.
    """
    stop = CancelToken()
    working = asyncio.get_running_loop().run_in_executor(_THREADS, work, stop)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # seen: what a stopped work raises says nothing new
        raise


async def write_chunk(file: BinaryIO, piece: bytes) -> None:
    """Append to a file in a thread. A cancelled write is still completed."""
    await run_cancellable(lambda _: file.write(piece))
