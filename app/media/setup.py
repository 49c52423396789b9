"""Setup of what media work needs: libraries and voice models, each in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from app.errors import MediaNotFound, WickError
from app.media.extras import EXTRAS, Extras
from app.media.voice_catalogue import DEFAULT_VOICE_MODEL, VOICE_CATALOGUE
from app.media.voice_models import VoiceModels
from app.models.install.progress import ProgressTracker, PullProgress

log = logging.getLogger(__name__)
NOTIFY_SECONDS: Final = 0.3
"""Between two steps of one task that listeners hear of."""


@dataclass(slots=True, eq=False)
class SetupTask:
    """Something that is being set up, or has failed to be. line: what it does, in words."""

    key: str
    title: str
    line: str = "starting"
    error: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    notified: float = 0.0

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()


class MediaSetup:
    """Tasks by key: the name of an extra, or of a voice model. `on_change` is called at steps,
    `on_voice` when a voice model has come.
    """

    def __init__(
        self,
        extras: Extras,
        models: VoiceModels,
        on_change: Callable[[], None],
        on_voice: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_voice = on_voice
        self._extras = extras
        self._models = models
        self._on_change = on_change
        self._tasks: dict[str, SetupTask] = {}
        self._pip = asyncio.Lock()

    def all(self) -> list[SetupTask]:
        """List what is being set up, or has failed."""
        return [task for task in self._tasks.values() if task.is_running or task.error]

    def get(self, key: str) -> SetupTask | None:
        """Return the task of that key that runs or has failed."""
        return next((task for task in self.all() if task.key == key), None)

    def start(self, key: str) -> SetupTask:
        """Set up an extra, with a voice model for voice, or get a voice model; again joins.

        Raises MediaNotFound for what there is nothing of.
        """
        running = self._tasks.get(key)
        if running is not None and running.is_running:
            return running
        if key in EXTRAS:
            task = SetupTask(key, EXTRAS[key].title)
            self._begin(task, self._set_up(task))
        elif key in VOICE_CATALOGUE:
            task = SetupTask(key, VOICE_CATALOGUE[key].title)
            self._begin(task, self._pull(task, key))
        else:
            raise MediaNotFound(f"There is nothing named “{key[:80]}” to set up.")
        return task

    def cancel(self, key: str) -> None:
        """Stop a task, or drop one that has failed; another key changes nothing."""
        task = self._tasks.pop(key, None)
        if task is not None and task.task is not None:
            task.task.cancel()
        self._on_change()

    async def close(self) -> None:
        """Stop everything."""
        tasks = [task.task for task in self._tasks.values() if task.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, task: SetupTask, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[task.key] = task
        task.task = asyncio.create_task(work, name=f"set up {task.key}")
        task.task.add_done_callback(lambda done: self._end(task, done))
        self._on_change()

    def _end(self, task: SetupTask, done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            task.error = str(error)
            if not isinstance(error, WickError):
                log.error("Setting up %s failed.", task.key, exc_info=error)
                task.error = "It failed because of an error inside Wick."
        self._on_change()

    async def _set_up(self, task: SetupTask) -> None:
        if not self._extras.is_installed(task.key):
            async with self._pip:  # two at once would overwrite each other's files
                await self._extras.install(task.key, lambda line: self._step(task, line))
        if task.key == "voice" and not await asyncio.to_thread(self._models.installed):
            await self._pull(task, DEFAULT_VOICE_MODEL)

    async def _pull(self, task: SetupTask, name: str) -> None:
        loop = asyncio.get_running_loop()

        def report(progress: PullProgress) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._step, task, progress.description)

        await self._models.install(name, ProgressTracker(report).report)
        self._on_voice()

    def _step(self, task: SetupTask, line: str) -> None:
        now = asyncio.get_running_loop().time()
        task.line = line
        if now - task.notified >= NOTIFY_SECONDS:
            task.notified = now
            self._on_change()
