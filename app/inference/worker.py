"""The worker: one task per model that takes requests from its queue and owns its runner."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from app.errors import ModelError, QueueFull, ShuttingDown
from app.inference.hits import Hits
from app.inference.protocol import (
    Cancel,
    Command,
    Delta,
    Event,
    Failed,
    Finished,
    Forget,
    Generate,
    Loaded,
    Prefill,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits; `place` 1 is next."""

    id: int
    place: int


@dataclass(frozen=True, slots=True)
class Loading:
    """The request waits for its model; `detail` says what is being done, for the person."""

    id: int
    detail: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The request ended for a reason that is not its own: the runner died, or Wick stops."""

    id: int
    message: str


RequestEvent = Queued | Loading | Prefill | Delta | Finished | Failed | Interrupted


@dataclass(slots=True)
class Request:
    """One wish for one answer. `listener` is called in the event loop and must not block."""

    command: Generate
    user_id: int
    listener: Callable[[RequestEvent], None]
    was_begun: bool = False
    was_sent_before: bool = False

    @property
    def id(self) -> int:
        return self.command.id


class Runner(Protocol):
    """What a worker needs of a runner; in earnest a RunnerProcess."""

    loaded: Loaded

    @property
    def pid(self) -> int: ...
    def send(self, command: Command) -> None: ...
    def events(self) -> AsyncIterator[Event]: ...
    async def how_it_ended(self) -> str: ...
    async def quit(self, seconds: float) -> None: ...
    async def kill(self) -> None: ...


class Loader(Protocol):
    """Brings the model into memory, telling what it does on the way. Raises ModelError."""

    def __call__(self, tell: Callable[[str], None]) -> Awaitable[Runner]: ...


class Worker:
    """Requests in, events out. `run` is the task; everything else may be called beside it."""

    def __init__(self, name: str, load: Loader, *, queue_limit: int, slots: int) -> None:
        self.name = name
        self.hits = Hits()
        self.state: Literal["idle", "loading", "ready"] = "idle"
        self._load = load
        self._queue_limit = queue_limit
        self._slots = slots
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}
        self._runner: Runner | None = None
        self._detail = "Loading the model"
        self._wanted = asyncio.Event()
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < self._queue_limit

    @property
    def runner_pid(self) -> int | None:
        return None if self._runner is None else self._runner.pid

    def check_room(self) -> None:
        """Raises QueueFull, or ShuttingDown."""
        if self._is_closed:
            raise ShuttingDown("Wick is being stopped. Please try again when it runs.")
        if not self.has_room:
            raise QueueFull(
                f"{len(self._waiting)} requests are waiting for {self.name} already. "
                "Please try again in a moment."
            )

    def submit(self, request: Request) -> None:
        """Put a request at the end of the queue. Raises QueueFull or ShuttingDown."""
        self.check_room()
        self._waiting.append(request)
        self._wanted.set()
        self._advance()

    def cancel(self, request_id: int) -> None:
        """End a request, wherever it is. Its listener hears `Finished`; unknown ids are ignored."""
        if request_id in self._running and self._runner is not None:
            self._runner.send(Cancel(request_id))
        for request in [r for r in self._waiting if r.id == request_id]:
            self._waiting.remove(request)
            request.listener(
                Finished(
                    id=request_id,
                    reason="cancelled",
                    prompt_tokens=0,
                    cached_tokens=0,
                    completion_tokens=0,
                    prefill_seconds=0.0,
                    decode_seconds=0.0,
                    dropped=0,
                )
            )
        self._advance()

    def forget(self, chat: str) -> None:
        """The runner, if there is one, drops what it keeps of a chat."""
        if self._runner is not None:
            self._runner.send(Forget(chat))

    async def run(self) -> None:
        """Load when somebody wants something, serve until the runner dies, and again."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._waiting:
                await self._serve()

    def interrupt(self, message: str) -> None:
        """What waits or runs ends with `message`, nothing more is taken; the runner lives on."""
        self._is_closed = True
        ended = [*self._running.values(), *self._waiting]
        self._running.clear()
        self._waiting.clear()
        for request in ended:
            request.listener(Interrupted(request.id, message))

    async def close(self, message: str, seconds: float = 0.0) -> None:
        """End everything: what waits or runs is interrupted with `message`, the runner is gone.

        seconds: how long the runner may write its KV states to the disk before.
        """
        self.interrupt(message)
        runner, self._runner, self.state = self._runner, None, "idle"
        if runner is not None:
            await (runner.quit(seconds) if seconds else runner.kill())

    async def _serve(self) -> None:
        self.state = "loading"
        self._tell("Loading the model")
        try:
            runner = await self._load(self._tell)
        except ModelError as error:
            log.warning("%s could not be loaded: %s", self.name, error)
            self.state = "idle"
            self._fail_waiting(str(error))
            return
        except BaseException:
            self.state = "idle"
            self._fail_waiting("The model could not be loaded because of an error inside Wick.")
            raise
        self._runner, self._slots, self.state = runner, runner.loaded.slots, "ready"
        try:
            self._advance()
            async for event in runner.events():
                self._pass_on(event)
            await self._bury(runner)
        finally:
            if self._runner is runner:
                self._runner, self.state = None, "idle"
            await runner.kill()

    def _pass_on(self, event: Event) -> None:
        request = self._running.get(event.id) if hasattr(event, "id") else None
        if request is None or not isinstance(event, Prefill | Delta | Finished | Failed):
            return  # a late word about a request that has ended
        request.was_begun = True
        if isinstance(event, Finished | Failed):
            del self._running[event.id]
        if isinstance(event, Finished):
            self.hits.count(event)
        request.listener(event)
        if isinstance(event, Finished | Failed):
            self._advance()

    async def _bury(self, runner: Runner) -> None:
        """What ran ends with its text; what the runner had not begun goes back to the front."""
        how = await runner.how_it_ended()
        if self._is_closed:
            return
        log.error("The runner of %s ended %s.", self.name, how)
        self._runner, self.state = None, "idle"
        ended, self._running = list(self._running.values()), {}
        for request in reversed(ended):
            if not request.was_begun and not request.was_sent_before:
                request.was_sent_before = True
                self._waiting.appendleft(request)
        for request in ended:
            if request not in self._waiting:
                request.listener(
                    Interrupted(request.id, f"The model's process ended {how}. Please try again.")
                )
        if self._waiting:
            self._wanted.set()

    def _fail_waiting(self, message: str) -> None:
        waiting, self._waiting = list(self._waiting), deque()
        for request in waiting:
            request.listener(Failed(request.id, message))

    def _tell(self, detail: str) -> None:
        self._detail = detail
        self._announce()

    def _advance(self) -> None:
        """Send what there are slots for, and tell the others their place."""
        while self._runner is not None and self._waiting and len(self._running) < self._slots:
            request = self._waiting.popleft()
            self._running[request.id] = request
            self._runner.send(request.command)
        self._announce()

    def _announce(self) -> None:
        for place, request in enumerate(tuple(self._waiting), start=1):
            if self.state == "loading" and place <= self._slots:
                request.listener(Loading(request.id, self._detail))
            else:
                request.listener(Queued(request.id, place))
