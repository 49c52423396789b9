"""Thread permits of processes that ask for none themselves: decoders, and children that load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from app.inference.runner.threads import ARE_SHARED
from app.media.permits import MediaPermits


class ThreadHolder:
    """Holder of one thread for each process of its kind, so that no answer counts on all of them.

    An answer that computes with all threads stands still while another process keeps one of their
    cores busy; with one thread less it is hardly slower.
    """

    def __init__(self, permits: MediaPermits | None) -> None:
        self._permits = permits

    @classmethod
    def of_folder(cls, folder: Path, budget: int) -> ThreadHolder:
        return cls(MediaPermits(folder, budget) if ARE_SHARED else None)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for a thread, and keep it meanwhile. Enter before the process is started."""
        if self._permits is None:
            yield
            return
        taking = asyncio.ensure_future(asyncio.to_thread(self._permits.hold))
        try:
            release = await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(_release)
            raise
        try:
            yield
        finally:
            release()


NO_THREADS: Final = ThreadHolder(None)
"""Where nothing else computes."""


def _release(taking: asyncio.Future[Callable[[], None]]) -> None:
    if not taking.cancelled() and taking.exception() is None:
        taking.result()()
