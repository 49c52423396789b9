"""The worker: one task per model that takes requests from its queue and owns its runner."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from app.errors import ModelError, ShuttingDown
from app.inference.admission import Average, Durations, Line
from app.inference.hits import Hits
from app.inference.protocol import (
    Cancel,
    Command,
    Delta,
    Event,
    Failed,
    Finished,
    Forget,
    Loaded,
    Prefill,
)
from app.inference.requests import Interrupted, Loading, Queued, Request

log = logging.getLogger(__name__)
REFRESH_SECONDS = 2.0  # between new estimates for those who wait


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


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker at one moment: figures only, nobody's words.

    running of `slots` answers are being written; waiting: requests in line; answered: since the
    start of Wick; tokens_per_second: of the latest answers, each; context_length in tokens;
    hits: how the KV cache did.
    """

    name: str
    state: Literal["idle", "loading", "ready"]
    pid: int | None
    slots: int
    running: int
    waiting: int
    answered: int
    context_length: int
    tokens_per_second: float | None
    hits: Hits


class Loader(Protocol):
    """Brings the model into memory, telling what it does on the way. Raises ModelError."""

    def __call__(self, tell: Callable[[str], None]) -> Awaitable[Runner]: ...


class Worker:
    """Requests in, events out. `run` is the task; everything else may be called beside it."""

    def __init__(
        self,
        name: str,
        load: Loader,
        *,
        queue_limit: int,
        slots: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.hits = Hits()
        self.state: Literal["idle", "loading", "ready"] = "idle"
        self._load = load
        self._slots = slots
        self._clock = clock
        self._line = Line(name, queue_limit)
        self._durations = Durations()
        self._speed = Average()
        self._answered = 0
        self._refresh: asyncio.TimerHandle | None = None
        self._running: dict[int, Request] = {}
        self._runner: Runner | None = None
        self._detail = "Loading the model"
        self._wanted = asyncio.Event()
        self._is_closed = False

    def status(self) -> WorkerStatus:
        runner = self._runner
        return WorkerStatus(
            name=self.name,
            state=self.state,
            pid=None if runner is None else runner.pid,
            slots=self._slots,
            running=len(self._running),
            waiting=len(self._line),
            answered=self._answered,
            context_length=0 if runner is None else runner.loaded.context_length,
            tokens_per_second=self._speed.usual,
            hits=self.hits,
        )

    def check_room(self) -> None:
        """Raises QueueFull, or ShuttingDown."""
        if self._is_closed:
            raise ShuttingDown("Wick is being stopped. Please try again when it runs.")
        self._line.check_room()

    def submit(self, request: Request, *, is_promised: bool = False) -> None:
        """Put a request into the queue. Raises QueueFull or ShuttingDown.

        One that is promised was accepted earlier, when there was room, and is not turned away.
        One in the background is dropped without a word when Wick stops or too many of them wait.
        """
        if self._is_closed and request.is_background:
            return
        if not request.is_background:
            if self._is_closed or not is_promised:
                self.check_room()
            self._make_way()
        self._line.add(request)
        self._wanted.set()
        self._advance()

    def cancel(self, request_id: int) -> None:
        """End a request, wherever it is. Its listener hears `Finished`; unknown ids are ignored."""
        if request_id in self._running and self._runner is not None:
            self._runner.send(Cancel(request_id))
        if (request := self._line.remove(request_id)) is not None:
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
            if self._line.is_wanted:
                await self._serve()

    def interrupt(self, message: str) -> None:
        """What waits or runs ends with `message`, nothing more is taken; the runner lives on."""
        self._is_closed = True
        ended = [*self._running.values(), *self._line.clear()]
        self._running.clear()
        if self._refresh is not None:
            self._refresh.cancel()
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
            self._end(request, event)
        else:
            request.listener(event)

    def _end(self, request: Request, event: Finished | Failed) -> None:
        del self._running[request.id]
        if isinstance(event, Finished) and event.reason == "cancelled" and request.gives_way:
            request.gives_way = False
            self._line.put_back(request)
        else:
            if isinstance(event, Finished):
                self._measure(request, event)
            request.listener(event)
        self._advance()

    def _measure(self, request: Request, event: Finished) -> None:
        self.hits.count(event)
        if event.reason == "cancelled":
            return
        if not request.is_background:
            self._durations.record(self._clock() - request.started)
            self._answered += 1
        if event.decode_seconds > 0:
            self._speed.record(event.completion_tokens / event.decode_seconds)

    def _make_way(self) -> None:
        """Whoever waits goes before work that nobody waits for."""
        for request in self._running.values():
            if request.is_background and not request.gives_way and self._runner is not None:
                request.gives_way = True
                self._runner.send(Cancel(request.id))

    async def _bury(self, runner: Runner) -> None:
        """What ran ends with its text; what the runner had not begun goes back to the front."""
        how = await runner.how_it_ended()
        if self._is_closed:
            return
        log.error("The runner of %s ended %s.", self.name, how)
        self._runner, self.state = None, "idle"
        ended, self._running = list(self._running.values()), {}
        for request in reversed(ended):
            if request.was_begun or request.was_sent_before:
                message = f"The model's process ended {how}. Please try again."
                request.listener(Interrupted(request.id, message))
            else:
                request.was_sent_before = True
                self._line.put_back(request)
        if self._line.is_wanted:
            self._wanted.set()

    def _fail_waiting(self, message: str) -> None:
        for request in self._line.clear():
            request.listener(Failed(request.id, message))

    def _tell(self, detail: str) -> None:
        self._detail = detail
        self._announce()

    def _advance(self) -> None:
        """Send what there are slots for, and tell the others their place."""
        while self._runner is not None and len(self._running) < self._slots:
            request = self._line.take(is_idle=not self._running)
            if request is None:
                break
            request.started = self._clock()
            self._running[request.id] = request
            self._runner.send(request.command)
        self._announce()

    def _announce(self) -> None:
        """Tell everybody in line what they wait for; estimates change, so tell them again."""
        running = list(self._running.values())
        order = self._line.in_order()
        elapsed = [self._clock() - request.started for request in running]
        seconds = self._durations.starts(elapsed, self._slots, len(order))
        for place, (request, start) in enumerate(zip(order, seconds, strict=True), start=1):
            if self.state == "loading" and place <= self._slots:
                request.listener(Loading(request.id, self._detail))
            else:
                request.listener(Queued(request.id, place, start))
        if order and self._refresh is None:
            loop = asyncio.get_running_loop()
            self._refresh = loop.call_later(REFRESH_SECONDS, self._announce_again)

    def _announce_again(self) -> None:
        self._refresh = None
        self._announce()
