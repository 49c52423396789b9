"""Serving: the requests of one model, who waits, who runs, and what each of them hears."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from app.errors import QueueFull
from app.inference.model_state import CacheStats
from app.inference.protocol import (
    Aborted,
    Cancel,
    Command,
    Delta,
    Event,
    Failed,
    Finished,
    Loaded,
    LoadFailed,
    LoadProgress,
    Prefill,
    Stalled,
)
from app.inference.queue import (
    EtaEstimator,
    FairQueue,
    Interrupted,
    ModelLoading,
    Queued,
    Request,
    RequestEvent,
    WeightedRate,
)

log = logging.getLogger(__name__)
UsageEvent = Prefill | Delta | Finished | Failed | Aborted
UsageCallback = Callable[[Request, UsageEvent], str | None]
"""Called with whatever tells what a request takes. A sentence ends it."""
EventCallback = Callable[[Request, RequestEvent], None]
REFRESH_SECONDS = 2.0  # between new estimates for those who wait


def ignore_event(request: Request, event: RequestEvent) -> None:
    """Hear nothing."""


class Runner(Protocol):
    """Interface that a worker needs of a runner: a RunnerProcess or a RemoteRunner.

    pid: of its process, None when it has none of its own.
    """

    loaded: Loaded

    @property
    def pid(self) -> int | None: ...
    def send(self, command: Command) -> None: ...
    def events(self) -> AsyncIterator[Event]: ...
    async def exit_reason(self) -> str: ...
    async def shutdown(self, seconds: float) -> None: ...
    async def kill(self) -> None: ...


class Dispatcher:
    """Knows nothing of loading: requests go to the attached runner while there is one.

    on_change: called when a request came, began or ended; on_usage: with what one takes;
    on_event: with all that requests are told.
    """

    def __init__(
        self,
        name: str,
        *,
        queue_limit: int,
        slots: int,
        on_change: Callable[[], None],
        on_usage: UsageCallback | None = None,
        on_event: EventCallback = ignore_event,
    ) -> None:
        self.hits = CacheStats()
        self.answered = 0
        self.slots = slots
        self._detail: str | None = None
        self._runner: Runner | None = None
        self._name = name
        self._on_change = on_change
        self._on_usage = on_usage
        self._on_event = on_event
        self._queue = FairQueue(queue_limit)
        self._eta = EtaEstimator()
        self._speed = WeightedRate()
        self._refresh: asyncio.TimerHandle | None = None
        self._running: dict[int, Request] = {}
        self._promised: set[int] | None = None

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def detail(self) -> str | None:
        """Sentence on what a request that is next waits for; None when that is only a slot."""
        return self._detail

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of one of the latest answers."""
        return self._speed.value

    @property
    def is_busy(self) -> bool:
        """Tell whether a request waits, or is being answered for somebody."""
        return bool(self._queue) or any(not r.is_background for r in self._running.values())

    @property
    def has_waiting(self) -> bool:
        """Tell whether a request waits; work in the background alone loads no model."""
        return bool(self._queue)

    @property
    def is_drained(self) -> bool:
        """Tell whether nothing runs and, after `drain`, nothing more will."""
        waiting = self._queue.ordered()
        return not self._running and not any(
            self._promised is None or request.id in self._promised for request in waiting
        )

    @property
    def requests(self) -> list[Request]:
        """Requests that run or wait, without those in the background that wait."""
        return [*self._running.values(), *self._queue.ordered()]

    def ensure_queue_space(self, user_id: int) -> None:
        """Raises QueueFull, which knows when the first of those who wait will have begun."""
        if not self._queue.has_room(user_id):
            raise QueueFull(
                f"{self._name} is busy ({len(self._queue)} in the queue). "
                "Please try again in a moment.",
                None if self._runner is None else self._starts(self._queue.ordered())[0],
            )

    def add(self, request: Request) -> None:
        """Queue a request, whether there is room or not."""
        if not request.is_background:
            self._interrupt_background()
        self._queue.add(request)
        self.dispatch()

    def cancel(self, request_id: int) -> None:
        """End a request, wherever it is. Its listener hears `Finished`; unknown ids are ignored."""
        if (running := self._running.get(request_id)) is not None and self._runner is not None:
            running.is_cancelled = True
            self._runner.send(Cancel(request_id))
        if (request := self._queue.remove(request_id)) is not None:
            self._notify(request, _cancelled(request))
        self.dispatch()

    def attach(self, runner: Runner) -> None:
        """Send requests to this runner from now on."""
        self._runner, self.slots, self._detail = runner, runner.loaded.slots, None
        self._eta.context_length = runner.loaded.context_length
        self.dispatch()

    def detach(self, detail: str | None = None) -> None:
        """Send nothing to the runner any more. `detail`: what new requests wait for from now on."""
        self._runner = None
        if detail is not None:
            self._detail = detail

    def clear_detail(self) -> None:
        """Forget what was waited for: that is over."""
        self._detail = None

    def drain(self) -> None:
        """Serve what runs and waits now, and no more; the background makes way at once."""
        if self._promised is None:
            self._promised = {request.id for request in self._queue.ordered()} | set(self._running)
            self._interrupt_background()

    def resume(self) -> None:
        """Serve everything again."""
        self._promised = None
        self.dispatch()

    def interrupt(self, message: str) -> None:
        """End every request with `message`."""
        ended = [*self._running.values(), *self._queue.clear()]
        self._running.clear()
        if self._refresh is not None:
            self._refresh.cancel()
        for request in ended:
            self._notify(request, Interrupted(request.id, message))

    def fail_waiting(self, message: str) -> None:
        for request in self._queue.clear():
            self._notify(request, Failed(request.id, message))

    def on_runner_died(self, how: str) -> None:
        """The runner ended `how`: what ran ends with its text; what it had not begun goes back."""
        self._runner = None
        ended, self._running = list(self._running.values()), {}
        for request in reversed(ended):
            if request.was_begun or request.is_retry:
                message = f"The model's process ended {how}. Please try again."
                self._notify(request, Interrupted(request.id, message))
            elif request.is_cancelled:
                self._notify(request, _cancelled(request))
            else:
                request.is_retry, request.is_preempted = True, False
                self._queue.requeue(request)

    def dispatch_event(self, event: Event) -> None:
        """Pass what the runner says about a request to its listener."""
        if isinstance(event, Loaded):
            self.slots = event.slots
            self._eta.context_length = event.context_length
            self.dispatch()
            return
        request = self._running.get(event.id) if hasattr(event, "id") else None
        if request is None or isinstance(event, LoadProgress | LoadFailed):
            return  # of no request, or a late word about one that has ended
        request.was_begun = True
        if isinstance(event, Finished | Failed | Aborted):
            self._end(request, event)
        elif isinstance(event, Stalled):
            self._notify(request, ModelLoading(request.id, event.detail))
        else:
            self._eta.on_event(request, event)
            self._notify(request, event)
            self._meter(request, event)

    def notify(self, detail: str) -> None:
        """Tell the requests that are next what they wait for."""
        self._detail = detail
        self._notify_positions()

    def dispatch(self) -> None:
        """Send what there are slots for, and tell the others their place."""
        while self._runner is not None and len(self._running) < self.slots:
            request = self._queue.pop_next(is_idle=not self._running, among=self._promised)
            if request is None:
                break
            self._running[request.id] = request
            self._runner.send(replace(request.command, owner=str(request.user_id)))
            self._notify(request, Queued(request.id, 0))
        self._notify_positions()
        self._on_change()

    def _end(self, request: Request, event: Finished | Failed | Aborted) -> None:
        running = len(self._running)
        del self._running[request.id]
        was_stopped = isinstance(event, Finished) and event.reason == "cancelled"
        if was_stopped and request.is_preempted and not request.is_cancelled:
            request.is_preempted, request.prompt_left, request.answered = False, None, 0
            self._queue.requeue(request)
        else:
            if isinstance(event, Finished):
                self._measure(request, event, running)
            elif self._on_usage is not None:
                self._on_usage(request, event)
            if isinstance(event, Aborted):
                self._notify(request, Interrupted(request.id, event.message))
            elif (
                isinstance(event, Finished)
                and event.reason == "cancelled"
                and request.quota_message
            ):
                self._notify(request, Interrupted(request.id, request.quota_message, event))
            else:
                self._notify(request, event)
        self.dispatch()

    def _meter(self, request: Request, event: Prefill | Delta) -> None:
        request.add_usage(event)
        if self._on_usage is None or request.quota_message or self._runner is None:
            return
        if sentence := self._on_usage(request, event):
            request.quota_message = sentence
            self._runner.send(Cancel(request.id))

    def _measure(self, request: Request, event: Finished, running: int) -> None:
        self.hits.count(event)
        if self._on_usage is not None:
            self._on_usage(request, event)
        if not request.is_background:
            self._eta.on_finished(request, event, running)
            self.answered += event.reason != "cancelled"
        if event.decode_seconds > 0 and event.reason != "cancelled":
            self._speed.record(event.completion_tokens, event.decode_seconds)

    def _interrupt_background(self) -> None:
        """Cancel running work in the background, to be done again later."""
        for request in self._running.values():
            if request.is_background and not request.is_preempted and self._runner is not None:
                request.is_preempted = True
                self._runner.send(Cancel(request.id))

    def _notify_positions(self) -> None:
        """Tell everybody in line what they wait for; estimates change, so tell them again."""
        order = self._queue.ordered()
        starts = self._starts(order)
        for place, (request, start) in enumerate(zip(order, starts, strict=True), start=1):
            if self._detail is not None and place <= self.slots:
                self._notify(request, ModelLoading(request.id, self._detail))
            else:
                self._notify(request, Queued(request.id, place, start))
        if order and self._refresh is None:
            loop = asyncio.get_running_loop()
            self._refresh = loop.call_later(REFRESH_SECONDS, self._announce_again)

    def _starts(self, order: list[Request]) -> list[float | None]:
        """Estimate in how many seconds each waiting request, in order, will have a slot."""
        return self._eta.start_times(list(self._running.values()), order, self.slots)

    def _announce_again(self) -> None:
        self._refresh = None
        self._notify_positions()

    def _notify(self, request: Request, event: RequestEvent) -> None:
        """A listener that fails harms no other request, and its own keeps its place and its end."""
        request.note_time(event)
        for listener in (request.listener, partial(self._on_event, request)):
            try:
                listener(event)
            except Exception:
                name = type(event).__name__
                log.exception("An event of request %d was lost: %s", request.id, name)


def _cancelled(request: Request) -> Finished:
    """The end of one that had not begun."""
    return Finished(request.id, "cancelled", 0, 0, 0, 0.0, 0.0, 0)
