"""The worker of one kind of media work: loads its child when it is needed, and ends it again."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.errors import MediaError, MediaFailed, ShuttingDown, WickError
from app.inference.lifecycle import CallLater, IdleTimer, call_later
from app.inference.memory_budget import MAIN, MemoryBudget
from app.inference.model_state import ModelState
from app.logs.request_ids import create_detached_task
from app.media.jobs import Job, JobQueue
from app.media.process import MediaOptions, MediaProcess
from app.media.protocol import MediaCommand, MediaKind, MediaResult

log = logging.getLogger(__name__)
CANCEL_SECONDS: Final = 5.0
"""A step of a large model may take longer than the start of a new child."""
STOPPING: Final = "Wick is shutting down. Try again later."
TOO_LARGE: Final = "{} needs more memory than models may use here (WICK_MODEL_MEMORY_MB)."

OptionsSource = Callable[[], Awaitable[MediaOptions]]
"""Gives the options of the next child. Raises MediaError while it is not set up."""


class MediaWorker:
    """Jobs in, results out, one at a time. Holds memory of the budget while its child lives."""

    def __init__(
        self,
        kind: MediaKind,
        name: str,
        options: OptionsSource,
        memory: MemoryBudget,
        *,
        keep_alive: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        later: CallLater = call_later,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.kind = kind
        self.name = name
        self._options = options
        self._memory = memory
        self._on_change = on_change
        self._jobs = JobQueue()
        self._current: Job | None = None
        self._state = ModelState.IDLE
        self._child: MediaProcess | None = None
        self._later = later
        self._idle = IdleTimer(keep_alive, self.unload_after_current, clock, later)
        self._is_unload_due = False
        self._is_closed = False
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> ModelState:
        return self._state

    @property
    def last_used(self) -> float:
        """Time of its last use, by the clock."""
        return self._idle.last_used

    @property
    def is_busy(self) -> bool:
        """Tell whether it works, or a job waits."""
        return self._current is not None or len(self._jobs) > 0

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def unload_after_current(self) -> None:
        """End the child after the job that runs; what waits then waits for the next one."""
        self._is_unload_due = True
        if self._state is ModelState.READY and self._current is None:
            self._set_state(ModelState.UNLOADING)
        self._wanted.set()

    def cancel_unload(self) -> None:
        """Call `unload_after_current` off, unless that has begun."""
        if self._state is not ModelState.UNLOADING:
            self._is_unload_due = False

    async def run(
        self, command: MediaCommand, payload: bytes, *, user_id: int, seconds: float
    ) -> MediaResult:
        """Carry out a command when it is its turn. Raises MediaError, QueueFull or ShuttingDown.

        When cancelled, it is not begun, or it ends at its next step, or after CANCEL_SECONDS with
        its child.
        """
        if self._is_closed:
            raise ShuttingDown(STOPPING)
        job = Job(user_id, command, payload, seconds)
        self._jobs.add(job)
        self._wanted.set()
        if self._task is None:
            self._task = create_detached_task(self._serve(), name=f"worker {self.kind}")
        try:
            return await job.result
        except asyncio.CancelledError:
            if self._current is job and self._child is not None:
                self._child.cancel(command)
                self._later(CANCEL_SECONDS, functools.partial(self._end_cancelled, job))
            raise
        finally:
            self._jobs.remove(job)
            self._memory.notify()  # perhaps nobody needs it any more

    def _end_cancelled(self, job: Job) -> None:
        """End a job that nobody waits for, and whose step goes on and on."""
        if self._current is job and self._child is not None:
            self._child.end()

    async def close(self) -> None:
        """End everything; who waits hears that Wick stops."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._jobs.fail(ShuttingDown(STOPPING))
        await self._end_child()

    async def _serve(self) -> None:
        while True:
            try:
                await self._wanted.wait()
                self._wanted.clear()
                if self._is_unload_due:
                    await self._end_child()
                while (job := self._jobs.pop()) is not None:
                    await self._do(job)
                    if self._is_unload_due:
                        await self._end_child()
                if self._state is ModelState.READY:
                    self._idle.idle()
            except Exception:
                log.exception("The worker for %s failed.", self.kind)
                self._jobs.fail(MediaFailed(f"{self.name} met an error inside Wick."))
                await self._end_child()

    async def _do(self, job: Job) -> None:
        self._current = job
        self._idle.busy()
        try:
            child = await self._loaded(job)
            if job.result.done():  # nobody waits any more
                return
            result = await child.work(job.command, job.payload, job.seconds)
        except WickError as error:
            self._settle(job, error)
        except asyncio.CancelledError:
            self._settle(job, ShuttingDown(STOPPING))
            raise
        except BaseException:
            self._settle(job, MediaFailed(f"{self.name} met an error inside Wick."))
            raise
        else:
            if not job.result.done():
                job.result.set_result(result)
        finally:
            self._current = None
            self._memory.notify()
        if self._child is not None and not self._child.is_alive:
            await self._end_child()

    def _settle(self, job: Job, error: WickError) -> None:
        if not job.result.done():
            job.result.set_exception(error)
            job.result.exception()  # perhaps nobody waits any more

    async def _loaded(self, job: Job) -> MediaProcess:
        """The child, started where there is none. Raises MediaError."""
        if self._child is not None:
            if self._child.is_alive:
                return self._child
            await self._end_child()
        options = await self._options()
        need = {MAIN: options.memory}
        if not self._memory.can_ever_fit(need):
            raise MediaError(TOO_LARGE.format(self.name))
        try:
            self._set_state(ModelState.LOADING)
            choice = await self._memory.reserve(
                self.name, [need], lambda sentence: None, lambda: not job.result.done()
            )
            if choice is None:
                raise MediaFailed("It was cancelled.")
            self._child = await MediaProcess.start(options)
        finally:
            if self._child is None:
                self._memory.release(self.name)
                self._set_state(ModelState.IDLE)
        self._set_state(ModelState.READY)
        return self._child

    async def _end_child(self) -> None:
        self._is_unload_due = False
        if self._child is not None:
            self._set_state(ModelState.UNLOADING)
            child, self._child = self._child, None
            await child.kill()  # it keeps nothing
        self._idle.reset()
        self._memory.release(self.name)
        self._set_state(ModelState.IDLE)

    def _set_state(self, state: ModelState) -> None:
        if state is not self._state:
            self._state = state
            self._on_change()
