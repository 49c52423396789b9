"""One load of a model at a time, that may be given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from app.inference.serving import Runner


class LoadAbandoned(Exception):
    """A load was given up before it began, since nobody wants the model any more."""


class ProgressCallback(Protocol):
    """What a load is doing, for the person; `progress` from 0 to 1 where it is known."""

    def __call__(self, detail: str, progress: float | None = None) -> None: ...


class Loader(Protocol):
    """Brings the model into memory, telling what it does on the way.

    Raises ModelError, or NobodyWaits.
    """

    def __call__(self, notify: ProgressCallback) -> Awaitable[Runner]: ...


class Loading:
    """`progress` of the load that runs, 0 to 1; None without one, or where it is not known."""

    def __init__(self, load: Loader, notify: Callable[[str], None]) -> None:
        self._load = load
        self._on_progress = notify
        self._task: asyncio.Future[Runner] | None = None
        self.progress: float | None = None

    async def runner(self) -> Runner:
        """A runner that is ready. Raises what the loader raises; NobodyWaits when given up."""
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
