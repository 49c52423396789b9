"""A worker with its task on a stage where the test says what happens, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from app.inference.dispatcher import Runner
from app.inference.lifecycle import ProgressCallback
from app.inference.model_state import ModelState
from app.inference.protocol import Finished, Generate
from app.inference.queue import Request, RequestEvent
from app.inference.worker import Worker
from app.models.model import Turn
from tests.inference.scripted import ScriptedRunner
from tests.patience import PATIENCE

T = TypeVar("T", bound=RequestEvent)


class Ear:
    """A listener that lets a test wait for an event."""

    def __init__(self) -> None:
        self.heard: list[RequestEvent] = []
        self._news = asyncio.Event()

    def __call__(self, event: RequestEvent) -> None:
        self.heard.append(event)
        self._news.set()

    async def hears(self, kind: type[T]) -> T:
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.heard:
                    if isinstance(event, kind):
                        return event
                self._news.clear()
                await self._news.wait()


def request(number: int, ear: Ear, user: int = 1, *, is_background: bool = False) -> Request:
    command = Generate(id=number, turns=(Turn("user", "hello"),), owner=str(user))  # as it is sent
    return Request(command, user, ear, is_background=is_background)


def finished(number: int) -> Finished:
    return Finished(number, "stop", 5, 0, 3, 0.1, 0.1, 0)


class ScriptedTimer:
    """Goes off when the test says so."""

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        self.seconds = seconds
        self.go_off = function
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Stage:
    """A worker with its task, and the runners that its loads hand out one after the other.

    timers: those it has set; changes: its states, as its listener saw them; exact_changes: the
    same, with what is not shown.
    """

    def __init__(
        self,
        *runners: ScriptedRunner | Exception,
        limit: int = 8,
        slots: int = 1,
        keep_alive: float = 1800.0,
    ) -> None:
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.tell: ProgressCallback | None = None
        self.loads = 0
        self.now = 0.0
        self.timers: list[ScriptedTimer] = []
        self.changes: list[str] = []
        self.exact_changes: list[ModelState] = []
        self._runners = list(runners)
        self._news = asyncio.Event()
        self.worker = Worker(
            "tiny",
            self._load,
            queue_limit=limit,
            slots=slots,
            clock=lambda: self.now,
            keep_alive=keep_alive,
            later=self._later,
            on_change=self._changed,
        )
        self.task = asyncio.create_task(self.worker.run())

    def timer(self) -> ScriptedTimer | None:
        """The one that is running."""
        return next((timer for timer in self.timers if not timer.is_cancelled), None)

    async def becomes(self, state: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.worker.state != state:
                self._news.clear()
                await self._news.wait()

    async def passes(self, state: ModelState, since: int) -> None:
        """Wait until it was in this state, exactly, after so many changes."""
        async with asyncio.timeout(PATIENCE):
            while state not in self.exact_changes[since:]:
                self._news.clear()
                await self._news.wait()

    async def _load(self, notify: ProgressCallback) -> Runner:
        self.tell = notify
        self.loads += 1
        notify("Loading the model")
        await self.may_load.wait()
        runner = self._runners.pop(0)
        if isinstance(runner, Exception):
            raise runner
        return runner

    def fail_next(self, error: Exception) -> None:
        """Let the load that goes on, or the next one, fail."""
        self._runners.insert(0, error)

    def _later(self, seconds: float, function: Callable[[], None]) -> ScriptedTimer:
        self.timers.append(ScriptedTimer(seconds, function))
        return self.timers[-1]

    def _changed(self) -> None:
        if not self.changes or self.changes[-1] != self.worker.state:
            self.changes.append(self.worker.state)
            self.exact_changes.append(self.worker.exact_state)
        self._news.set()

    async def end(self) -> None:
        await self.worker.close("Wick was stopped.")
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
