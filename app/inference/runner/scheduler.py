"""Runs many sequences on few threads: who has had a part in a step goes to the back.

A preparing thread turns requests into sequences (template, tokens, window, context), so that a
slow template holds up no running answer. The step threads do everything else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import PromptTooLong, WickError
from app.inference.context_window import FittedPrompt
from app.inference.protocol import Event, Failed, Finished, Generate
from app.inference.runner.engines.engine import GoOn, StepInterrupted
from app.inference.runner.sequence import RunnerContext, RunningSequence
from app.inference.runner.steps import StepMaker, StepResult, StepThreads
from app.inference.runner.threads import LongPermit, Permits

log = logging.getLogger(__name__)

MAX_ERROR_CHARS: Final = 600
"""Characters of a failure: some of it may be a template's own words, and events have a limit."""


@dataclass(slots=True, eq=False)
class _Job:
    """A request on its way. `context`: a thread works on it, and no other may touch it;
    steps_alone: a picture that it reads is a step of its own, whoever waits."""

    request: Generate
    sequence: RunningSequence | None = None
    context: bool = False
    cancelled: bool = False
    steps_alone: bool = False


class Scheduler:
    """Up to `slots` requests run at once, further ones wait in their order.

    prepare: makes the prompt of a request; emit: takes the events, from any thread, those of one
    request in order; threads: native threads that one step may use, and step threads there are.
    """

    def __init__(
        self,
        room: RunnerContext,
        prepare: Callable[[Generate], FittedPrompt],
        emit: Callable[[Event], None],
        permits: Permits,
        *,
        slots: int,
        threads: int,
    ) -> None:
        self._context = room
        self._prepare = prepare
        self._emit = emit
        self._permits = permits
        self._steps = StepMaker(room, room.contexts.engine)
        self._slots = slots
        self._threads = max(1, threads)
        self._jobs: dict[int, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._runnable: deque[_Job] = deque()
        self._showing: deque[_Job] = deque()
        self._stepping = 0
        self._closed = False
        self._changed = threading.Condition()
        self._step_threads = [
            threading.Thread(target=self._prepare_all, name="prepare", daemon=True)
        ]
        if room.pictures is not None:
            self._step_threads.append(
                threading.Thread(target=self._encode_all, name="encode", daemon=True)
            )
        for number in range(1 if self._steps.is_batched else min(self._threads, slots)):
            name = f"step {number}"
            self._step_threads.append(
                threading.Thread(target=self._step_all, name=name, daemon=True)
            )
        for thread in self._step_threads:
            thread.start()

    def submit(self, request: Generate) -> None:
        """Take a request without waiting. Raises ValueError when a request of that id is still
        running."""
        with self._changed:
            if request.id in self._jobs:
                raise ValueError(f"request {request.id} is running already")
            job = self._jobs[request.id] = _Job(request)
            self._waiting.append(job)
            self._changed.notify_all()

    def cancel(self, request_id: int) -> None:
        """Ends a request at once, or after the operation that is being computed for it."""
        with self._changed:
            job = self._jobs.get(request_id)
            if job is None:
                return
            job.cancelled = True
            if job.context:  # whoever holds it looks at `cancelled` next
                if job.sequence is not None:
                    self._steps.interrupt(job.sequence)
                return
            waiting = (self._waiting, self._runnable, self._showing)
            next(queue for queue in waiting if job in queue).remove(job)
            self._discard(job)
        self._emit_all(job, _cancelled(job))

    def close(self, seconds: float | None = None) -> None:
        """Waits for the steps being made; requests end without a word, contexts go back.

        seconds: wait no longer than that in all; what is then still at work keeps its context.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._step_threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        with self._changed:  # a thread that took too long may be ending one right now
            jobs = [job for job in self._jobs.values() if not (job.context and self._is_at_work())]
        for job in jobs:
            if job.sequence is not None:
                job.sequence.close()

    def _is_at_work(self) -> bool:
        return any(thread.is_alive() for thread in self._step_threads)

    # The preparing thread.

    def _prepare_all(self) -> None:
        while (job := self._next_waiting()) is not None:
            try:
                prompt = self._prepare(job.request)
                job.sequence = RunningSequence(job.request, prompt, self._context)
                events: list[Event] = [job.sequence.progress()]
            except Exception as error:
                events = [_failed(job, error)]
            self._emit_all(job, events)
            with self._changed:
                job.context = False
                if job.sequence is None:
                    self._discard(job)
                else:
                    self._enqueue(job)
                    self._changed.notify_all()

    def _next_waiting(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may_start())
            if self._closed:
                return None
            job = self._waiting.popleft()
            job.context = True
            return job

    def _may_start(self) -> bool:
        return bool(self._waiting) and len(self._jobs) - len(self._waiting) < self._slots

    # The step threads.

    def _step_all(self) -> None:
        done: list[_Job] = []
        while jobs := self._next_step(done):
            for job, events in zip(jobs, self._step(jobs), strict=True):
                self._emit_all(job, events)
            done = jobs

    def _next_step(self, done: Iterable[_Job]) -> list[_Job]:
        """Puts `done` at the back, or away when they have ended, and takes who is next; nobody when
        it is over."""
        with self._changed:
            for job in done:
                self._requeue(job)
            self._changed.wait_for(lambda: self._closed or self._runnable)
            if self._closed:
                return []
            chosen = self._steps.choose([_sequence(job) for job in self._runnable])
            jobs = [job for job in self._runnable if job.sequence in chosen]
            for job in jobs:
                self._runnable.remove(job)
                job.context = True
            self._stepping += len(jobs)
            return jobs

    def _requeue(self, job: _Job) -> None:
        self._stepping -= 1
        job.context = False
        if job.sequence is None or job.sequence.ended:
            self._discard(job)
        else:
            # No notice is needed: who puts one back takes one, so nobody waits for it.
            self._enqueue(job)
            if self._showing:
                self._changed.notify_all()

    def _enqueue(self, job: _Job) -> None:
        """Put a job at the back of those that can be stepped, or wait for a picture."""
        queue = self._showing if self._is_for_encoder(job) else self._runnable
        queue.append(job)

    def _is_for_encoder(self, job: _Job) -> bool:
        """Tell whether a chunk is to be computed first, or to be read beside the answers that go
        on. The caller has the lock."""
        sequence = _sequence(job)
        if sequence.needs_encoding:
            return True
        return not job.steps_alone and sequence.reads_whole_picture and self._others_answer(job)

    def _others_answer(self, job: _Job) -> bool:
        others = (one.sequence for one in self._jobs.values() if one is not job)
        return any(one and not one.ended and not one.is_reading for one in others)

    # The encoding thread.

    def _encode_all(self) -> None:
        """Compute the chunks of pictures, one of each job in turn, beside the steps."""
        while (job := self._next_picture()) is not None:
            try:
                events = self._encode(job)
                if job.cancelled:
                    events = _cancelled(job)
            except Exception as error:
                events = [_failed(job, error)]
            self._emit_all(job, events)
            with self._changed:
                job.context = False
                if _sequence(job).ended:
                    self._discard(job)
                else:
                    self._enqueue(job)
                self._changed.notify_all()

    def _encode(self, job: _Job) -> list[Event]:
        """Compute one chunk, and let others come first between its operations. Where they took
        some of its threads for good, it is begun anew with the rest."""

        def goes_on() -> bool:
            return not job.cancelled and not self._closed and permit.give_way()

        with LongPermit(self._permits, self._encoding_threads()) as permit:
            while not job.cancelled and not self._closed:
                try:
                    return self._encode_or_read(job, permit.threads, goes_on)
                except StepInterrupted:
                    permit.resize()
        return []

    @staticmethod
    def _encode_or_read(job: _Job, threads: int, go_on: GoOn) -> list[Event]:
        sequence = _sequence(job)
        if sequence.needs_encoding:
            return sequence.encode_next(threads, go_on)
        events = sequence.read_aside(threads, go_on)
        job.steps_alone = events is None
        return events or []

    def _encoding_threads(self) -> int:
        """Threads for one chunk: where anything else is at work, one is left to it."""
        with self._changed:
            is_alone = not self._runnable and not self._stepping
        return self._threads if is_alone else max(1, self._threads - 1)

    def _next_picture(self) -> _Job | None:
        with self._changed:
            while not self._closed and not self._showing:
                jobs, pictures = self._jobs.values(), self._context.pictures
                if pictures and not any(
                    job.sequence and job.sequence.awaits_picture for job in jobs
                ):
                    pictures.release_pictures()
                self._changed.wait()
            if self._closed:
                return None
            job = self._showing.popleft()
            job.context = True
            return job

    def _step(self, jobs: Sequence[_Job]) -> list[list[Event]]:
        """Make a step for these jobs; the events of each."""
        wanted = self._thread_share(jobs)
        with self._permits.acquire(wanted) as threads:
            # Events are written later, without a permit: a parent that is slow to read them must
            # not keep other models from working.
            going_on = [job for job in jobs if not job.cancelled]
            step = [_sequence(job) for job in going_on]
            given = StepThreads(threads, is_contended=threads < wanted)
            results = self._steps.make(step, given) if step else []
        made = dict(zip(map(id, going_on), results, strict=True))
        return [self._events(job, made.get(id(job), [])) for job in jobs]

    def _events(self, job: _Job, result: StepResult) -> list[Event]:
        sequence = _sequence(job)
        try:
            if isinstance(result, Exception):
                raise result
            if job.cancelled and not sequence.ended:
                return [*result, *_cancelled(job)]
            return result
        except Exception as error:
            return [*sequence.unsent(), _failed(job, error)]

    def _thread_share(self, jobs: Sequence[_Job]) -> int:
        """Threads for one step: all of them when it is the only one, else one each."""
        steps = 1 if self._steps.is_batched else len(self._runnable) + self._stepping
        limit = max(1, self._threads // max(1, steps))
        return self._steps.threads([_sequence(job) for job in jobs], limit)

    # Both.

    def _discard(self, job: _Job) -> None:
        """Free its slot. The caller has the lock."""
        if self._jobs.get(job.request.id) is job:
            del self._jobs[job.request.id]
            self._changed.notify_all()

    def _emit_all(self, job: _Job, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Finished | Failed):
                with self._changed:  # once the end is heard, the same id may come again
                    self._discard(job)
            self._emit(event)


def _sequence(job: _Job) -> RunningSequence:
    assert job.sequence is not None  # noqa: S101 - only jobs with a sequence become runnable
    return job.sequence


def _cancelled(job: _Job) -> list[Event]:
    if job.sequence is not None:
        return job.sequence.end("cancelled")
    return [Finished(job.request.id, "cancelled", 0, 0, 0, 0.0, 0.0, 0)]


def _failed(job: _Job, error: Exception) -> Failed:
    """Make the error as the user reads it; what Wick did not foresee is logged in full."""
    if job.sequence is not None:
        job.sequence.close()
    if isinstance(error, PromptTooLong):
        sizes = (error.prompt_tokens, error.context_length)
        return Failed(job.request.id, str(error)[:MAX_ERROR_CHARS], error.status, *sizes)
    if isinstance(error, WickError):
        return Failed(job.request.id, str(error)[:MAX_ERROR_CHARS], error.status)
    log.error("Request %s failed", job.request.id, exc_info=error)
    return Failed(job.request.id, "The model failed while it worked on this answer.")
