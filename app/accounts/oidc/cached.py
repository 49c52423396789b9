"""Something that is fetched, kept for a while, and fetched by one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from app.errors import ProviderFailed

T = TypeVar("T")
FAILED_SECONDS: Final = 5.0
"""How long a failure answers whoever asks next, without another attempt."""


class Cached(Generic[T]):
    """A value that `fetch` gets. failure: when it last failed, and how; None after a success."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._kept: tuple[float, T] | None = None
        self.failure: tuple[float, ProviderFailed] | None = None

    @property
    def kept(self) -> T | None:
        """Return the newest value, however old it is."""
        return None if self._kept is None else self._kept[1]

    async def get(self, max_age: float) -> T:
        """Return a value of at most `max_age` seconds. Raises ProviderFailed."""
        asked_at = self._clock()
        async with self._lock:
            if self._kept is not None and self._kept[0] >= asked_at - max_age:
                return self._kept[1]
            if self.failure is not None and self.failure[0] >= asked_at - FAILED_SECONDS:
                raise self.failure[1].with_traceback(None)
            try:
                value = await self._fetch()
            except ProviderFailed as error:
                self.failure = self._clock(), error
                raise
            self._kept, self.failure = (self._clock(), value), None
            return value
