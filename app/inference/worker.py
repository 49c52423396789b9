"""The worker: one task per model that loads it when it is wanted, and sees it out again."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from app.errors import ModelBusy, ModelError, ModelLoadError, ShuttingDown
from app.inference.backoff import Backoff
from app.inference.keep_alive import KeepAlive, Later, call_later
from app.inference.leave import Leave
from app.inference.loading import Loader, Loading, NobodyWaits
from app.inference.protocol import Bound, Failed, Forget
from app.inference.requests import Request
from app.inference.serving import Measured, Runner, Serving
from app.inference.status import State, WorkerStatus

log = logging.getLogger(__name__)


class Worker:
    """Requests in, events out. `run` is the task; everything else may be called beside it.

    changed: called on every change of state and progress; eased: when it may be less busy;
    measured: with what a request took.
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
        later: Later = call_later,
        changed: Callable[[], None] = lambda: None,
        eased: Callable[[], None] = lambda: None,
        measured: Measured | None = None,
    ) -> None:
        self.name = name
        self.state: State = "idle"
        self._changed = changed
        self._told = 0  # answers being written, when that was told last
        self._eased = eased
        self._serving = Serving(
            name, queue_limit=queue_limit, slots=slots, changed=self._look, measured=measured
        )
        self._loading = Loading(load, self._tell)
        self._backoff = Backoff(clock)
        self._alive = KeepAlive(keep_alive, self._expire, clock, later)
        self._leave = Leave(name, self._serving)
        self._runner: Runner | None = None
        self._bound: Bound | None = None
        self._is_asked_for = False  # by a person, without a request
        self._wanted = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._is_closed = False

    @property
    def last_used(self) -> float:
        return self._alive.last_used

    @property
    def is_wanted(self) -> bool:
        """Whether there is a reason to load it."""
        return self._serving.is_wanted or self._is_asked_for

    @property
    def is_busy(self) -> bool:
        """Whether it loads, answers, or somebody waits."""
        return self.state == "loading" or self._serving.is_busy

    @property
    def requests(self) -> list[Request]:
        """Those that wait or run."""
        return self._serving.requests

    def status(self) -> WorkerStatus:
        serving, runner = self._serving, self._runner
        return WorkerStatus(
            name=self.name,
            state=self.state,
            pid=None if runner is None else runner.pid,
            slots=serving.slots,
            running=serving.running,
            waiting=serving.waiting,
            answered=serving.answered,
            context_length=0 if runner is None else runner.loaded.context_length,
            tokens_per_second=serving.tokens_per_second,
            hits=serving.hits,
            error=self._backoff.error,
            load_progress=self._loading.progress,
            detail=serving.detail,
            idle_since=self._alive.since,
            unloads_in=self._alive.seconds_left,
        )

    def check_room(self, user_id: int) -> None:
        """For one more request of this person's. Raises QueueFull, or ShuttingDown."""
        self._check_open()
        self._serving.check_room(user_id)

    def submit(self, request: Request, *, is_promised: bool = False) -> None:
        """Put a request into the queue. Raises QueueFull or ShuttingDown.

        One that is promised was accepted earlier, when there was room, and is not turned away.
        One in the background is dropped without a word when Wick stops or too many of them wait,
        and loads no model. Soon after a failed load the listener hears `Failed` at once.
        """
        if request.is_background:
            if not self._is_closed:
                self._serving.add(request)
            return
        if self._is_closed or not is_promised:
            self.check_room(request.user_id)
        if self.state == "failed" and (refusal := self._backoff.refusal()) is not None:
            request.listener(Failed(request.id, refusal))
            return
        self._serving.add(request)
        self._wanted.set()

    def cancel(self, request_id: int) -> None:
        """End a request, wherever it is. Its listener hears `Finished`; unknown ids are ignored."""
        self._serving.cancel(request_id)

    def forget(self, chat: str = "", owner: str = "") -> None:
        """The runner, if there is one, drops what it keeps of a chat or a person."""
        if self._runner is not None:
            self._runner.send(Forget(chat, owner))

    def bound(self, bound: Bound) -> None:
        """What its runner, now or once it is loaded, may keep of chats."""
        self._bound = bound
        if self._runner is not None:
            self._runner.send(bound)

    def load(self) -> None:
        """Load without a request, whatever failed before. Again is harmless. ShuttingDown."""
        self._check_open()
        if self.state in {"idle", "failed", "unloading"}:
            self._is_asked_for = True
            self._backoff.hurry()
            self._wanted.set()

    def keep(self, seconds: float) -> None:
        """How long it stays when nobody uses it, until it is unloaded; infinite: for ever."""
        self._alive.become(seconds)

    async def unload(self) -> None:
        """Its KV states are on the disk and its memory is free afterwards. Raises ModelBusy."""
        if self._serving.is_busy:
            raise ModelBusy(
                f"{self.name} is answering, or somebody waits for it, so it stays loaded."
            )
        self._is_asked_for = False
        if not self._loading.give_up():
            self.give_way(for_good=True)
        await self._gone.wait()

    async def left(self) -> None:
        """Return when a runner that is ending has ended; at once if none is."""
        if self.state == "unloading":
            await self._gone.wait()

    def give_way(self, *, for_good: bool = False) -> None:
        """Unload after what runs and waits now; who comes later waits for the next load."""
        if self.state in {"loading", "ready"} and self._leave.tell(for_good=for_good):
            self._look()

    def stay(self) -> None:
        """It need not give way any more, unless that was for good."""
        self._leave.withdraw()

    def renew(self) -> None:
        """What it is loaded with has changed: unload as soon as that disturbs nobody."""
        self._backoff.reset()
        self.give_way(for_good=True)

    async def run(self) -> None:
        """Load when somebody wants something, serve until the runner is gone, and again."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self.is_wanted and not self._is_closed:
                await self._serve()

    def interrupt(self, message: str) -> None:
        """What waits or runs ends with `message`, nothing more is taken; the runner lives on."""
        self._is_closed = True
        self._alive.busy()
        self._serving.interrupt(message)

    async def close(self, message: str, seconds: float = 0.0) -> None:
        """End everything: what waits or runs is interrupted with `message`, the runner is gone.

        seconds: how long the runner may write its KV states to the disk before.
        """
        self.interrupt(message)
        if self._loading.give_up():
            await self._gone.wait()
        if self._runner is not None:
            self._serving.runner = None
            await self._leave.hurry(self._runner, seconds)

    async def _serve(self) -> None:
        runner = await self._loaded()
        if runner is None:
            return
        self._runner = runner
        self._backoff.reset()
        try:
            self._become("ready")
            if self._bound is not None:
                runner.send(self._bound)
            self._serving.attach(runner)
            async for event in runner.events():
                self._serving.pass_on(event)
            if self._leave.is_under_way:
                await self._leave.gone()
            elif not self._is_closed:
                how = await runner.how_it_ended()
                log.error("The runner of %s ended %s.", self.name, how)
                self._serving.bury(how)
        except Exception:
            self._serving.bury("because of an error inside Wick")
            raise
        finally:
            self._serving.runner = None
            await runner.kill()
            self._runner = None
            self._is_idle_again("idle")

    async def _loaded(self) -> Runner | None:
        """None when it failed, or nobody wants it any more; who waits has been told."""
        self._become("loading")
        self._tell("Loading the model")
        try:
            runner = await self._loading.runner()
        except NobodyWaits:
            self._not_loaded("idle")
        except ModelError as error:
            log.warning("%s could not be loaded: %s", self.name, error)
            self._fail(str(error), waits=isinstance(error, ModelLoadError))
        except asyncio.CancelledError:
            self._not_loaded("idle")
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
        self._serving.fail_waiting(message)
        self._not_loaded("failed")

    def _not_loaded(self, state: State) -> None:
        self._is_asked_for = False
        self._is_idle_again(state)

    def _is_idle_again(self, state: State) -> None:
        """Nothing is loaded any more; whoever came meanwhile begins the next load."""
        self._leave.over()
        self._alive.over()
        self._serving.detail = None
        self._become(state)
        self._serving.release()
        if self.is_wanted:
            self._wanted.set()

    def _tell(self, detail: str) -> None:
        self._serving.tell(detail)
        self._changed()

    def _become(self, state: State) -> None:
        self.state = state
        if state in {"idle", "failed"}:
            self._gone.set()
        else:
            self._gone.clear()
        self._changed()

    def _look(self) -> None:
        """After anything has changed: leave if that is due, or think of when."""
        if self._told != self._serving.running:
            self._told = self._serving.running
            self._changed()
        if self.state == "ready" and not self._is_closed:
            if self._leave.is_due and self._serving.is_drained:
                self._quit()
            elif self._serving.running or self._serving.is_wanted:
                self._alive.busy()
            else:
                self._alive.idle()
        self._eased()

    def _expire(self) -> None:
        log.info("%s has not been used for a while and is unloaded.", self.name)
        self.give_way()

    def _quit(self) -> None:
        """Let the runner write its states and end; `_serve` sees its pipe end."""
        assert self._runner is not None  # noqa: S101 - it is ready
        runner, self._serving.runner = self._runner, None
        self._serving.detail = "Loading the model"
        self._alive.busy()
        self._leave.go(runner)
        self._become("unloading")

    def _check_open(self) -> None:
        if self._is_closed:
            raise ShuttingDown("Wick is being stopped. Please try again when it runs.")
