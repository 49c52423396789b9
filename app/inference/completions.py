"""Answers that belong to no chat: whoever asked listens until they end, or has them cancelled."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.errors import QueueFull, WickError
from app.inference.protocol import Delta, Failed, Finished, Generate, Prefill
from app.inference.queue import Interrupted, ModelLoading, Queued, Request, RequestEvent
from app.inference.worker_pool import WorkerPool

_NUMBERS = itertools.count(1 << 40)
"""Ids of their own: answers in chats have the small positive numbers, titles the negative ones."""
Ended = Finished | Failed | Interrupted
_PROGRESS = Queued | ModelLoading | Prefill


@dataclass(slots=True, eq=False)
class _QueuedEvent:
    index: int
    event: RequestEvent


class Completions:
    """One or several answers to one wish. `next` tells what is said of them, in order.

    Text that comes faster than it is taken gathers into one event, so what waits to be taken is
    never more than the answers themselves. max_concurrent: how many run or wait
    at the same time; None for all.
    """

    def __init__(
        self,
        pool: WorkerPool,
        model: str,
        commands: Sequence[Generate],
        user_id: int,
        *,
        max_concurrent: int | None = None,
    ) -> None:
        self._pool = pool
        self._model = model
        self._max_concurrent = len(commands) if max_concurrent is None else max_concurrent
        self._later = deque(range(len(commands)))
        self._requests = [
            Request(replace(command, id=next(_NUMBERS)), user_id, partial(self._on_event, index))
            for index, command in enumerate(commands)
        ]
        self._heard: deque[_QueuedEvent] = deque()
        self._newest: dict[int, _QueuedEvent] = {}
        self._running = set[int]()
        self._news = asyncio.Event()

    def begin(self) -> None:
        """Raises QueueFull or ShuttingDown, and then nothing of it waits."""
        try:
            while self._later and len(self._running) < self._max_concurrent:
                self._begin_next()
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """End whatever has not ended; again is harmless."""
        self._later.clear()
        for index in list(self._running):
            self._pool.cancel(self._model, self._requests[index].id)

    @property
    def is_over(self) -> bool:
        """Tell whether everything has ended and was taken."""
        return not self._running and not self._later and not self._heard

    async def next(self, seconds: float | None = None) -> tuple[int, RequestEvent] | None:
        """The number of an answer and what is new of it; None when nothing is for that time."""
        await self._wait(seconds)
        if not self._heard:
            return None
        heard = self._heard.popleft()
        if self._newest.get(heard.index) is heard:
            del self._newest[heard.index]
        return heard.index, heard.event

    async def first_event(self, seconds: float) -> RequestEvent | None:
        """The first text of an answer, or how it ended, still to be taken. None: not yet."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for heard in self._heard:
                        if not isinstance(heard.event, _PROGRESS):
                            return heard.event
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not self._heard:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass

    def _begin_next(self) -> None:
        index = self._later[0]
        self._running.add(index)
        try:
            self._pool.submit(self._model, self._requests[index])
        except BaseException:
            self._running.discard(index)
            raise
        self._later.popleft()

    def _go_on(self) -> None:
        """One has ended: the next may begin. A queue that others have filled has room again when
        the next of ours ends."""
        if not self._later:
            return
        try:
            self._begin_next()
        except WickError as error:
            if isinstance(error, QueueFull) and self._running:
                return
            index = self._later[0]
            self._later.clear()
            self._on_event(index, Failed(self._requests[index].id, str(error), error.status))

    def _on_event(self, index: int, event: RequestEvent) -> None:
        if isinstance(event, Interrupted) and event.finished and event.finished.completion_tokens:
            event = replace(event.finished, reason="length")  # to a program, the end of a budget
        if isinstance(event, Ended):
            self._running.discard(index)
            if self._later:
                asyncio.get_running_loop().call_soon(self._go_on)
        newest = self._newest.get(index)
        if newest is not None and (merged := _merged(newest.event, event)) is not None:
            newest.event = merged
        else:
            self._newest[index] = _QueuedEvent(index, event)
            self._heard.append(self._newest[index])
        self._news.set()


def _merged(old: RequestEvent, new: RequestEvent) -> RequestEvent | None:
    """One event that says what both say; None when they are of different kinds."""
    if isinstance(old, Delta) and isinstance(new, Delta):
        return Delta.joined((old, new))
    if isinstance(old, _PROGRESS) and isinstance(new, _PROGRESS):
        return new
    return None
