"""Keep-alive: how long a model that nobody uses stays in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol


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
        """When it was busy the last time, by the clock."""
        return self._used if self.since is None else self.since

    @property
    def seconds_left(self) -> float | None:
        """Until it expires; None while it does not."""
        if self.since is None or math.isinf(self._seconds):
            return None
        return max(0.0, self.since + self._seconds - self._clock())

    def set_timeout(self, seconds: float) -> None:
        """So long instead of the usual, from now on, until `reset`."""
        self._seconds = seconds
        if self.since is not None:
            self.busy()
            self.idle()

    def reset(self) -> None:
        """It is not there any more."""
        self.busy()
        self._seconds = self._default

    def busy(self) -> None:
        """In use, or not there: nothing expires."""
        self._used, self.since = self._clock(), None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def idle(self) -> None:
        """Not in use; again changes nothing."""
        if self.since is None:
            self.since = self._clock()
            if not math.isinf(self._seconds):
                self._timer = self._later(self._seconds, self._expire)
