"""Serving: the requests of one model, who waits, who runs, and what each of them hears."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Protocol

from app.errors import QueueFull
from app.inference.admission import Line
from app.inference.estimate import Estimate, Rate
from app.inference.hits import Hits
from app.inference.protocol import (
    Cancel,
    Command,
    Cut,
    Delta,
    Event,
    Failed,
    Finished,
    Loaded,
    LoadFailed,
    LoadProgress,
    Prefill,
    Waiting,
)
from app.inference.requests import Interrupted, Loading, Queued, Request, RequestEvent

log = logging.getLogger(__name__)
Measured = Callable[[Request, Prefill | Delta | Finished], str | None]
"""Called with whatever tells what a request takes. A sentence ends it."""
REFRESH_SECONDS = 2.0  # between new estimates for those who wait


class Runner(Protocol):
    """What a worker needs of a runner; in earnest a RunnerProcess or a RemoteRunner.

    pid: of its process, None when it has none of its own.
    """

    loaded: Loaded

    @property
    def pid(self) -> int | None: ...
    def send(self, command: Command) -> None: ...
    def events(self) -> AsyncIterator[Event]: ...
    async def how_it_ended(self) -> str: ...
    async def quit(self, seconds: float) -> None: ...
    async def kill(self) -> None: ...


class Serving:
    """Knows nothing of loading: requests go to the `runner` while there is one.

    changed: called when a request came, began or ended. detail: what those hear who would run at
    once; None when they wait for nothing but a slot.
    """

    def __init__(
        self,
        name: str,
        *,
        queue_limit: int,
        slots: int,
        changed: Callable[[], None],
        measured: Measured | None = None,
    ) -> None:
        self.hits = Hits()
        self.answered = 0
        self.slots = slots
        self.detail: str | None = None
        self.runner: Runner | None = None
        self._name = name
        self._changed = changed
        self._measured = measured
        self._line = Line(queue_limit)
        self._estimate = Estimate()
        self._speed = Rate()
        self._refresh: asyncio.TimerHandle | None = None
        self._running: dict[int, Request] = {}
        self._promised: set[int] | None = None

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def tokens_per_second(self) -> float | None:
        """Of the latest answers, each."""
        return self._speed.value

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits, or is being answered."""
        return bool(self._line) or any(not r.is_background for r in self._running.values())

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits; work in the background alone loads no model."""
        return bool(self._line)

    @property
    def is_drained(self) -> bool:
        """Whether nothing runs and, after `hold`, nothing more will."""
        waiting = self._line.in_order()
        return not self._running and not any(
            self._promised is None or request.id in self._promised for request in waiting
        )

    @property
    def requests(self) -> list[Request]:
        """Those that wait or run."""
        return [*self._running.values(), *self._line.in_order()]

    def check_room(self, user_id: int) -> None:
        """Raises QueueFull, which knows when the first of those who wait will have begun."""
        if not self._line.has_room(user_id):
            raise QueueFull(
                f"{len(self._line)} requests are waiting for {self._name} already. "
                "Please try again in a moment.",
                None if self.runner is None else self._starts(self._line.in_order())[0],
            )

    def add(self, request: Request) -> None:
        """Whether there is room or not."""
        if not request.is_background:
            self._interrupt_background()
        self._line.add(request)
        self.advance()

    def cancel(self, request_id: int) -> None:
        """End a request, wherever it is. Its listener hears `Finished`; unknown ids are ignored."""
        if (running := self._running.get(request_id)) is not None and self.runner is not None:
            running.is_cancelled = True
            self.runner.send(Cancel(request_id))
        if (request := self._line.remove(request_id)) is not None:
            _tell(request, _cancelled(request))
        self.advance()

    def attach(self, runner: Runner) -> None:
        """From now on requests go there."""
        self.runner, self.slots, self.detail = runner, runner.loaded.slots, None
        self._estimate.context_length = runner.loaded.context_length
        self.advance()

    def hold(self) -> None:
        """Serve what runs and waits now, and no more; the background makes way at once."""
        if self._promised is None:
            self._promised = {request.id for request in self._line.in_order()} | set(self._running)
            self._interrupt_background()

    def release(self) -> None:
        """Serve everything again."""
        self._promised = None
        self.advance()

    def interrupt(self, message: str) -> None:
        """What waits or runs ends with `message`."""
        ended = [*self._running.values(), *self._line.clear()]
        self._running.clear()
        if self._refresh is not None:
            self._refresh.cancel()
        for request in ended:
            _tell(request, Interrupted(request.id, message))

    def fail_waiting(self, message: str) -> None:
        for request in self._line.clear():
            _tell(request, Failed(request.id, message))

    def bury(self, how: str) -> None:
        """The runner ended `how`: what ran ends with its text; what it had not begun goes back."""
        self.runner = None
        ended, self._running = list(self._running.values()), {}
        for request in reversed(ended):
            if request.was_begun or request.was_sent_before:
                message = f"The model's process ended {how}. Please try again."
                _tell(request, Interrupted(request.id, message))
            elif request.is_cancelled:
                _tell(request, _cancelled(request))
            else:
                request.was_sent_before, request.gives_way = True, False
                self._line.put_back(request)

    def pass_on(self, event: Event) -> None:
        """What the runner says about a request, to its listener."""
        if isinstance(event, Loaded):
            self.slots = event.slots
            self._estimate.context_length = event.context_length
            self.advance()
            return
        request = self._running.get(event.id) if hasattr(event, "id") else None
        if request is None or isinstance(event, LoadProgress | LoadFailed):
            return  # of no request, or a late word about one that has ended
        request.was_begun = True
        if isinstance(event, Finished | Failed | Cut):
            self._end(request, event)
        elif isinstance(event, Waiting):
            _tell(request, Loading(request.id, event.detail))
        else:
            self._estimate.hear(request, event)
            _tell(request, event)
            self._meter(request, event)

    def tell(self, detail: str) -> None:
        """What those who would run at once wait for."""
        self.detail = detail
        self._announce()

    def advance(self) -> None:
        """Send what there are slots for, and tell the others their place."""
        while self.runner is not None and len(self._running) < self.slots:
            request = self._line.take(is_idle=not self._running, among=self._promised)
            if request is None:
                break
            self._running[request.id] = request
            self.runner.send(replace(request.command, owner=str(request.user_id)))
            _tell(request, Queued(request.id, 0))
        self._announce()
        self._changed()

    def _end(self, request: Request, event: Finished | Failed | Cut) -> None:
        running = len(self._running)
        del self._running[request.id]
        was_stopped = isinstance(event, Finished) and event.reason == "cancelled"
        if was_stopped and request.gives_way and not request.is_cancelled:
            request.gives_way, request.prompt_left, request.answered = False, None, 0
            self._line.put_back(request)
        else:
            if isinstance(event, Finished):
                self._measure(request, event, running)
            if isinstance(event, Cut):
                _tell(request, Interrupted(request.id, event.message))
            elif isinstance(event, Finished) and event.reason == "cancelled" and request.too_much:
                _tell(request, Interrupted(request.id, request.too_much, event))
            else:
                _tell(request, event)
        self.advance()

    def _meter(self, request: Request, event: Prefill | Delta) -> None:
        request.spend(event)
        if self._measured is None or request.too_much or self.runner is None:
            return
        if sentence := self._measured(request, event):
            request.too_much = sentence
            self.runner.send(Cancel(request.id))

    def _measure(self, request: Request, event: Finished, running: int) -> None:
        self.hits.count(event)
        if self._measured is not None:
            self._measured(request, event)
        if not request.is_background:
            self._estimate.measure(request, event, running)
            self.answered += event.reason != "cancelled"
        if event.decode_seconds > 0 and event.reason != "cancelled":
            self._speed.record(event.completion_tokens, event.decode_seconds)

    def _interrupt_background(self) -> None:
        """Whoever waits goes before work that nobody waits for."""
        for request in self._running.values():
            if request.is_background and not request.gives_way and self.runner is not None:
                request.gives_way = True
                self.runner.send(Cancel(request.id))

    def _announce(self) -> None:
        """Tell everybody in line what they wait for; estimates change, so tell them again."""
        order = self._line.in_order()
        starts = self._starts(order)
        for place, (request, start) in enumerate(zip(order, starts, strict=True), start=1):
            if self.detail is not None and place <= self.slots:
                _tell(request, Loading(request.id, self.detail))
            else:
                _tell(request, Queued(request.id, place, start))
        if order and self._refresh is None:
            loop = asyncio.get_running_loop()
            self._refresh = loop.call_later(REFRESH_SECONDS, self._announce_again)

    def _starts(self, order: list[Request]) -> list[float | None]:
        """When each of those who wait, in order, will have a slot: in so many seconds."""
        return self._estimate.starts(list(self._running.values()), order, self.slots)

    def _announce_again(self) -> None:
        self._refresh = None
        self._announce()


def _cancelled(request: Request) -> Finished:
    """The end of one that had not begun."""
    return Finished(request.id, "cancelled", 0, 0, 0, 0.0, 0.0, 0)


def _tell(request: Request, event: RequestEvent) -> None:
    """A listener that fails harms no other request, and its own keeps its place and its end."""
    try:
        request.listener(event)
    except Exception:
        log.exception("What request %d should hear was lost: %s", request.id, type(event).__name__)
