"""Pulls under way in the server: which models are being brought, how far, and waiting for one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app.errors import ModelError, PullError
from app.models import sources
from app.models.shelf import Shelf
from app.models.sources import PullProgress

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Pull:
    """One model on its way. `error` is a sentence once it has failed; then it may be retried."""

    name: str
    progress: PullProgress
    error: str | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def sentence(self) -> str:
        """How far it is, for the person."""
        return f"Getting the model {self.name}: {self.progress.sentence}"


class Pulls:
    """One pull per model at a time, each in a thread. `listeners` hear of every step."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._pulls: dict[str, Pull] = {}
        self.listeners: list[Callable[[], None]] = []

    def all(self) -> list[Pull]:
        """Those that run, and those that failed."""
        return [p for p in self._pulls.values() if p.is_running or p.error]

    def start(self, name: str) -> Pull:
        """Begin, or join the pull of this model that runs already."""
        running = self._pulls.get(name)
        if running is not None and running.is_running:
            return running
        pull = self._pulls[name] = Pull(name, PullProgress(stage="downloading", done=0, total=0))
        pull.task = asyncio.create_task(self._run(pull), name=f"pull {name}")
        self._tell_all()
        return pull

    async def wait_for(self, name: str, tell: Callable[[str], None]) -> None:
        """Return at once when nothing of that name is on its way, else when it has arrived.

        `tell` hears how far it is. Raises PullError when it fails.
        """
        pull = self._pulls.get(name)
        if pull is None or not pull.is_running or pull.task is None:
            return
        while not pull.task.done():
            tell(pull.sentence)
            await asyncio.wait([pull.task], timeout=0.5)
        if pull.error:
            raise PullError(pull.error)

    async def close(self) -> None:
        """Stop them all and wait until their threads have ended."""
        for pull in self._pulls.values():
            pull.cancelled.set()
        tasks = [pull.task for pull in self._pulls.values() if pull.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, pull: Pull) -> None:
        loop = asyncio.get_running_loop()

        def report(progress: PullProgress) -> None:
            loop.call_soon_threadsafe(self._advance, pull, progress)

        try:
            await asyncio.to_thread(sources.pull, pull.name, self._shelf, report, pull.cancelled)
        except ModelError as error:
            pull.error = str(error)
        except Exception:
            log.exception("The pull of %s failed.", pull.name)
            pull.error = f"Getting {pull.name} failed because of an error inside Wick."
        else:
            log.info("%s is on the shelf.", pull.name)
        self._tell_all()

    def _tell_all(self) -> None:
        for listener in self.listeners:
            listener()

    def _advance(self, pull: Pull, progress: PullProgress) -> None:
        pull.progress = progress
        self._tell_all()
