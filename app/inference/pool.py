"""The pool: the workers of all models, each made when its model is first wanted."""

from __future__ import annotations

import asyncio
import functools
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.config import Settings
from app.inference import snapshots
from app.inference.requests import Request
from app.inference.runner_process import RunnerOptions, RunnerProcess
from app.inference.worker import Worker, WorkerStatus
from app.models.pulls import Pulls
from app.models.shelf import Shelf

log = logging.getLogger(__name__)
SAVE_SECONDS = 1.0
"""For all runners together, which write side by side: Wick is to stop within two seconds."""


class Pool:
    """Requests by model name. The thread permits of all its runners come from one folder."""

    def __init__(self, settings: Settings, shelf: Shelf, pulls: Pulls) -> None:
        self._settings = settings
        self._shelf = shelf
        self._pulls = pulls
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="wick-")
        self._options = RunnerOptions.from_settings(settings, Path(self._folder.name))

    def worker(self, name: str) -> Worker:
        """The worker of a model, its task started."""
        if name not in self._workers:
            self._workers[name] = Worker(
                name,
                functools.partial(self._load, name),
                queue_limit=self._settings.queue_limit,
                slots=self._settings.slots,
            )
            self._start(name)
        return self._workers[name]

    def submit(self, name: str, request: Request) -> None:
        """Raises QueueFull or ShuttingDown."""
        self.worker(name).submit(request)

    def cancel(self, name: str, request_id: int) -> None:
        if name in self._workers:
            self._workers[name].cancel(request_id)

    async def forget(self, chat: str) -> None:
        """Delete every KV state of a chat that is gone for good, in memory and on the disk."""
        for worker in self._workers.values():
            worker.forget(chat)
        await asyncio.to_thread(snapshots.forget, self._settings.kv_folder, chat)

    def statuses(self) -> list[WorkerStatus]:
        """Every worker that was ever wanted, by name."""
        return [worker.status() for _, worker in sorted(self._workers.items())]

    def interrupt(self, message: str) -> None:
        """End every request with `message`, and take no more."""
        for worker in self._workers.values():
            worker.interrupt(message)

    async def close(self, message: str) -> None:
        """Interrupt every request with `message`; afterwards no runner is alive.

        Before they end, the runners write what they hold to the disk, within SAVE_SECONDS.
        """
        await asyncio.gather(*(w.close(message, SAVE_SECONDS) for w in self._workers.values()))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._folder.cleanup()

    def _start(self, name: str) -> None:
        task = asyncio.create_task(self._workers[name].run(), name=f"worker {name}")
        self._tasks[name] = task
        task.add_done_callback(functools.partial(self._restart, name))

    def _restart(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("The worker of %s died and is restarted.", name, exc_info=task.exception())
            self._start(name)

    async def _load(self, name: str, tell: Callable[[str], None]) -> RunnerProcess:
        await self._pulls.wait_for(name, tell)
        tell("Loading the model")
        model = await asyncio.to_thread(self._shelf.get, name)
        runner = await RunnerProcess.start(model, self._options)
        log.info(
            "%s is loaded after %.2f s: %d answers at once, %d tokens of context each.",
            name,
            runner.loaded.seconds,
            runner.loaded.slots,
            runner.loaded.context_length,
        )
        return runner
