"""A loaded model's life: loading, idle timer, unloading, and backoff after a failed load."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from app.inference.dispatcher import Runner

UNLOAD_SECONDS: Final = 5.0
"""For a runner to write its KV states when it is unloaded; then it is killed."""
# When a load that failed may be tried again: 1 s later, then 2, 4 … 60.
MIN_SECONDS: Final = 1.0
MAX_SECONDS: Final = 60.0


class Unloading:
    """End of one runner, which writes its KV states first. `reset` prepares for the next load."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._going: asyncio.Task[None] | None = None

    def start(self, runner: Runner) -> None:
        """Let the runner write its KV states and end, which its events tell."""
        self._going = asyncio.create_task(
            runner.shutdown(UNLOAD_SECONDS), name=f"unload {self._name}"
        )

    async def wait(self) -> None:
        """Wait until what `start` began is done."""
        if self._going is not None:
            await asyncio.wait([self._going])

    async def force(self, runner: Runner, seconds: float) -> None:
        """The runner is gone afterwards; for so long it may write its KV states."""
        if self._going is not None:
            await asyncio.wait([self._going], timeout=seconds)
            await runner.kill()
        elif seconds:
            await runner.shutdown(seconds)
        else:
            await runner.kill()

    def reset(self) -> None:
        self._going = None


class Timer(Protocol):
    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Calls a function so many seconds later, unless it is cancelled."""


def call_later(seconds: float, function: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, function)


class IdleTimer:
    """Calls `expire` after `seconds` of being idle without a break; infinite: never.

    since: when it became idle, by the clock in seconds; None while it is busy or not loaded.
    """

    def __init__(
        self,
        seconds: float,
        expire: Callable[[], None],
        clock: Callable[[], float],
        later: CallLater,
    ) -> None:
        self._default = self._seconds = seconds
        self._expire = expire
        self._clock = clock
        self._later = later
        self._timer: Timer | None = None
        self._used = clock()
        self.since: float | None = None

    @property
    def last_used(self) -> float:
        """Time of its last use, by the clock."""
        return self._used if self.since is None else self.since

    @property
    def seconds_left(self) -> float | None:
        """Seconds until it expires; None while it does not."""
        if self.since is None or math.isinf(self._seconds):
            return None
        return max(0.0, self.since + self._seconds - self._clock())

    def set_timeout(self, seconds: float) -> None:
        """Set another timeout than the default, from now on, until `reset`."""
        self._seconds = seconds
        if self.since is not None:
            self.busy()
            self.idle()

    def reset(self) -> None:
        """Stop, and go back to the default timeout: nothing is loaded any more."""
        self.busy()
        self._seconds = self._default

    def busy(self) -> None:
        """Stop the timer: the model is in use, or not loaded."""
        self._used, self.since = self._clock(), None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def idle(self) -> None:
        """Start the timer: the model is not in use. Again changes nothing."""
        if self.since is None:
            self.since = self._clock()
            if not math.isinf(self._seconds):
                self._timer = self._later(self._seconds, self._expire)


class Backoff:
    """Pause after a failed load. `error` is what went wrong the last time, None after a success;
    `clock` counts seconds."""

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
        """Clear the error and the pause, after a success or a change."""
        self.error, self._pause, self._until = None, 0.0, 0.0

    def retry_message(self) -> str | None:
        """The sentence for who comes too early; None when a try may be made."""
        left = self._until - self._clock()
        if self.error is None or left <= 0:
            return None
        seconds = math.ceil(left)
        return f"{self.error} It can be tried again in {seconds} second{'s'[: seconds > 1]}."


class LoadAbandoned(Exception):
    """A load was given up before it began, since nobody wants the model any more."""


class ProgressCallback(Protocol):
    """Callback with what a load is doing, in words; `progress` from 0 to 1 where known."""

    def __call__(self, detail: str, progress: float | None = None) -> None: ...


class Loader(Protocol):
    """Brings the model into memory, telling what it does on the way.

    Raises ModelError, or LoadAbandoned.
    """

    def __call__(self, notify: ProgressCallback) -> Awaitable[Runner]: ...


class Loading:
    """One load of a model at a time, that may be given up.

    progress: of the load that runs, 0 to 1; None without one, or where it is not known.
    """

    def __init__(self, load: Loader, notify: Callable[[str], None]) -> None:
        self._load = load
        self._on_progress = notify
        self._task: asyncio.Future[Runner] | None = None
        self.progress: float | None = None

    async def runner(self) -> Runner:
        """A runner that is ready. Raises what the loader raises; LoadAbandoned when given up."""
        task = self._task = asyncio.ensure_future(self._load(self._notify))
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled() and task.exception() is None:
                await task.result().kill()  # it was ready in the very same moment
            this = asyncio.current_task()
            if this is not None and this.cancelling():
                raise
            raise LoadAbandoned from None
        finally:
            self._task = self.progress = None

    def cancel(self) -> bool:
        """False when no load runs, or it has come too far for that."""
        return self._task is not None and self._task.cancel()

    def _notify(self, detail: str, progress: float | None = None) -> None:
        self.progress = progress
        self._on_progress(detail)
