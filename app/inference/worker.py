"""The worker: one task per model that loads it when it is wanted, and sees it out again."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.errors import ModelBusy, ModelError, ModelLoadError, ShuttingDown
from app.inference.dispatcher import Dispatcher, EventCallback, Runner, UsageCallback, ignore_event
from app.inference.lifecycle import (
    Backoff,
    CallLater,
    IdleTimer,
    LoadAbandoned,
    Loader,
    Loading,
    Unloading,
    call_later,
)
from app.inference.model_state import LifeEvent, ModelState, WorkerStatus, next_state
from app.inference.protocol import DeleteCache, Failed, SetLimits
from app.inference.queue import Request

log = logging.getLogger(__name__)
STOPPING: Final = "Wick is shutting down. Try again later."


class Worker:
    """Requests in, events out. `run` is the task; everything else may be called beside it.

    on_change: called on every change of state and progress; on_capacity: when it may be less busy;
    on_usage: with what a request takes; on_event: with what requests are told; on_crash: with how
    its runner ended unexpectedly.
    """

    def __init__(
        self,
        name: str,
        load: Loader,
        *,
        queue_limit: int,
        slots: int,
        clock: Callable[[], float] = time.monotonic,
        keep_alive: float = math.inf,
        later: CallLater = call_later,
        on_change: Callable[[], None] = lambda: None,
        on_capacity: Callable[[], None] = lambda: None,
        on_usage: UsageCallback | None = None,
        on_event: EventCallback = ignore_event,
        on_crash: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self._state = ModelState.IDLE
        self._on_change = on_change
        self._notified_running = 0  # answers being written, when that was told last
        self._on_capacity = on_capacity
        self._on_crash = on_crash
        self._dispatcher = Dispatcher(
            name,
            queue_limit=queue_limit,
            slots=slots,
            on_change=self._refresh,
            on_usage=on_usage,
            on_event=on_event,
        )
        self._loading = Loading(load, self._notify)
        self._backoff = Backoff(clock)
        self._alive = IdleTimer(keep_alive, self._expire, clock, later)
        self._unloading = Unloading(name)
        self._runner: Runner | None = None
        self._limits: SetLimits | None = None
        self._is_asked_for = False  # by a person, without a request
        self._wanted = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._is_closed = False

    @property
    def state(self) -> ModelState:
        """State as people see it."""
        return self._state.shown

    @property
    def exact_state(self) -> ModelState:
        """State with an unload that is due, or a pause after a failed load."""
        return self._state

    @property
    def last_used(self) -> float:
        """Time of its last use, by the clock."""
        return self._alive.last_used

    @property
    def is_needed(self) -> bool:
        """Tell whether there is a reason to load it."""
        return self._dispatcher.has_waiting or self._is_asked_for

    @property
    def is_busy(self) -> bool:
        """Tell whether it loads, answers, or a request waits."""
        return self.state is ModelState.LOADING or self._dispatcher.is_busy

    @property
    def requests(self) -> list[Request]:
        """Requests that run or wait."""
        return self._dispatcher.requests

    def status(self) -> WorkerStatus:
        dispatcher, runner = self._dispatcher, self._runner
        return WorkerStatus(
            name=self.name,
            state=self.state,
            pid=None if runner is None else runner.pid,
            slots=dispatcher.slots,
            running=dispatcher.running,
            waiting=dispatcher.waiting,
            answered=dispatcher.answered,
            context_length=0 if runner is None else runner.loaded.context_length,
            tokens_per_second=dispatcher.tokens_per_second,
            hits=dispatcher.hits,
            error=self._backoff.error,
            load_progress=self._loading.progress,
            detail=dispatcher.detail,
            idle_since=self._alive.since,
            unloads_in=self._alive.seconds_left,
        )

    def ensure_queue_space(self, user_id: int) -> None:
        """Check that one more request of this user's may wait. Raises QueueFull, ShuttingDown."""
        self._check_open()
        self._dispatcher.ensure_queue_space(user_id)

    def submit(self, request: Request) -> None:
        """Put a request that was admitted into the queue, whether it is full or not.

        Raises ShuttingDown. One in the background is dropped without a word when Wick stops or too
        many of them wait, and loads no model. Soon after a failed load the listener hears `Failed`
        at once.
        """
        if request.is_background:
            if not self._is_closed:
                self._dispatcher.add(request)
            return
        self._check_open()
        if (refusal := self._refusal()) is not None:
            request.listener(Failed(request.id, refusal))
            return
        self._dispatcher.add(request)
        self._wanted.set()

    def cancel(self, request_id: int) -> None:
        """End a request, wherever it is. Its listener hears `Finished`; unknown ids are ignored."""
        self._dispatcher.cancel(request_id)

    def delete_chat(self, chat: str = "", owner: str = "") -> None:
        """The runner, if there is one, drops what it keeps of a chat or a person."""
        if self._runner is not None:
            self._runner.send(DeleteCache(chat, owner))

    def set_limits(self, limits: SetLimits) -> None:
        """Set what its runner, now or once it is loaded, may keep of chats."""
        self._limits = limits
        if self._runner is not None:
            self._runner.send(limits)

    def load(self) -> None:
        """Load without a request, whatever failed before. Again is harmless. ShuttingDown."""
        self._check_open()
        if self.state not in {ModelState.LOADING, ModelState.READY}:
            self._is_asked_for = True
            self._apply(LifeEvent.RETRY)
            self._wanted.set()

    def set_keep_alive(self, seconds: float) -> None:
        """Set after how many idle seconds this load is unloaded; infinite: never."""
        self._alive.set_timeout(seconds)

    async def unload(self) -> None:
        """Save KV states to the disk and free the memory. Raises ModelBusy."""
        if self._dispatcher.is_busy:
            raise ModelBusy(
                f"{self.name} is answering, or somebody waits for it, so it stays loaded."
            )
        self._is_asked_for = False
        if not self._loading.cancel():
            self.unload_after_current(for_good=True)
        await self._gone.wait()

    async def wait_unloaded(self) -> None:
        """Return when a runner that is ending has ended; at once if none is."""
        if self._state is ModelState.UNLOADING:
            await self._gone.wait()

    def unload_after_current(self, *, for_good: bool = False) -> None:
        """Unload after what runs and waits now; who comes later waits for the next load."""
        was_due = self._state.is_unload_due
        self._apply(LifeEvent.UNLOAD_FOR_GOOD if for_good else LifeEvent.UNLOAD)
        if self._state.is_unload_due and not was_due:
            self._dispatcher.drain()
            self._refresh()

    def cancel_unload(self) -> None:
        """Call `unload_after_current` off, unless that was for good or has begun."""
        was_due = self._state.is_unload_due
        self._apply(LifeEvent.KEEP)
        if was_due and not self._state.is_unload_due:
            self._dispatcher.resume()

    def reload_when_idle(self) -> None:
        """Unload as soon as that disturbs nobody, since its settings have changed."""
        self._backoff.reset()
        self._apply(LifeEvent.RETRY)
        self.unload_after_current(for_good=True)

    async def run(self) -> None:
        """Load when somebody wants something, serve until the runner is gone, and again."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self.is_needed and not self._is_closed:
                await self._serve()

    def interrupt(self, message: str) -> None:
        """End every request with `message` and take no more; the runner lives on."""
        self._is_closed = True
        self._alive.busy()
        self._dispatcher.interrupt(message)

    async def close(self, message: str, seconds: float = 0.0) -> None:
        """End everything: what waits or runs is interrupted with `message`, the runner is gone.

        seconds: how long the runner may write its KV states to the disk before.
        """
        self.interrupt(message)
        if self._loading.cancel():
            await self._gone.wait()
        if self._runner is not None:
            self._dispatcher.detach()
            await self._unloading.force(self._runner, seconds)

    async def _serve(self) -> None:
        runner = await self._loaded()
        if runner is None:
            return
        self._runner = runner
        self._backoff.reset()
        try:
            self._apply(LifeEvent.LOADED)
            if self._limits is not None:
                runner.send(self._limits)
            self._dispatcher.attach(runner)
            async for event in runner.events():
                self._dispatcher.dispatch_event(event)
            if self._state is ModelState.UNLOADING:
                await self._unloading.wait()
            elif not self._is_closed:
                how = await runner.exit_reason()
                log.error("The runner of %s ended %s.", self.name, how)
                if self._on_crash is not None:
                    await self._on_crash(how)
                self._dispatcher.on_runner_died(how)
        except Exception:
            self._dispatcher.on_runner_died("because of an error inside Wick")
            raise
        finally:
            self._dispatcher.detach()
            await runner.kill()
            self._runner = None
            self._settle(LifeEvent.RUNNER_ENDED)

    async def _loaded(self) -> Runner | None:
        """Load a runner. None when that failed or was given up; those who wait know."""
        try:
            self._apply(LifeEvent.LOAD)
            self._notify("Loading the model")
            runner = await self._loading.runner()
        except LoadAbandoned:
            self._not_loaded(LifeEvent.LOAD_ABANDONED)
        except ModelError as error:
            log.warning("%s could not be loaded: %s", self.name, error)
            self._fail(str(error), waits=isinstance(error, ModelLoadError))
        except asyncio.CancelledError:
            self._not_loaded(LifeEvent.LOAD_ABANDONED)
            raise
        except BaseException:
            self._fail("The model could not be loaded because of an error inside Wick.")
            raise
        else:
            self._is_asked_for = False
            return runner
        return None

    def _fail(self, message: str, *, waits: bool = True) -> None:
        self._backoff.failed(message, waits=waits)
        self._dispatcher.fail_waiting(message)
        self._not_loaded(LifeEvent.LOAD_FAILED if waits else LifeEvent.LOAD_REFUSED)

    def _not_loaded(self, event: LifeEvent) -> None:
        self._is_asked_for = False
        self._settle(event)

    def _settle(self, event: LifeEvent) -> None:
        """Settle with nothing loaded; a request that came meanwhile begins the next load."""
        self._unloading.reset()
        self._alive.reset()
        self._dispatcher.clear_detail()
        self._apply(event)
        self._dispatcher.resume()
        if self.is_needed:
            self._wanted.set()

    def _notify(self, detail: str) -> None:
        self._dispatcher.notify(detail)
        self._on_change()

    def _apply(self, event: LifeEvent) -> None:
        """Go on to the state that follows, and tell of it where it is shown."""
        before, self._state = self._state, next_state(self._state, event)
        if self._state.shown is before.shown:
            return
        if self._state.is_loaded:
            self._gone.clear()
        else:
            self._gone.set()
        self._on_change()

    def _refusal(self) -> str | None:
        """Say why no load may be tried now; None when one may, since the pause is over."""
        if self._state is not ModelState.BACKING_OFF:
            return None
        refusal = self._backoff.retry_message()
        if refusal is None:
            self._apply(LifeEvent.RETRY)
        return refusal

    def _refresh(self) -> None:
        """React to a change: unload if that is due, or start or stop the idle timer."""
        if self._notified_running != self._dispatcher.running:
            self._notified_running = self._dispatcher.running
            self._on_change()
        if self.state is ModelState.READY and not self._is_closed:
            if self._state.is_unload_due and self._dispatcher.is_drained:
                self._begin_unload()
            elif self._dispatcher.running or self._dispatcher.has_waiting:
                self._alive.busy()
            else:
                self._alive.idle()
        self._on_capacity()

    def _expire(self) -> None:
        log.info("%s has not been used for a while and is unloaded.", self.name)
        self.unload_after_current()

    def _begin_unload(self) -> None:
        """Let the runner write its states and end; `_serve` sees its pipe end."""
        assert self._runner is not None  # noqa: S101 - it is ready
        runner = self._runner
        self._dispatcher.detach("Loading the model")
        self._alive.busy()
        self._unloading.start(runner)
        self._apply(LifeEvent.DRAINED)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ShuttingDown(STOPPING)
