"""Composes steps: which sequences one evaluation works on, and how much of a prompt it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.inference.protocol import Event
from app.inference.runner.engines.engine import CacheFull, Engine, StepInterrupted
from app.inference.runner.kv.live import LiveSlice
from app.inference.runner.pace import SMALLEST_SLICE, SlicePacer, fill_tiles
from app.inference.runner.sequence import RunnerContext, RunningSequence

SHORT_PROMPT: Final = 64
"""Tokens of a prompt that are read sooner than a state is copied."""

PICTURE_SHARE: Final = 0.6
"""Of the time of a slice for rows of a picture: answers wait for their end, and for a step of their
own after it."""

StepResult = list[Event] | Exception
"""What came of a step for one sequence."""


LONG_TEXT_SECONDS: Final = 1.0
"""Time from which on a text that is read whole leaves a thread to other models."""
GATHERED_TOKENS: Final = 512
"""Tokens of several texts in one step: of more, too much would be computed for nothing."""


@dataclass(frozen=True, slots=True)
class StepThreads:
    """Threads that a step has, and whether it got fewer than it asked for."""

    count: int
    is_contended: bool = False


class StepMaker:
    """Makes the steps of one runner.

    An engine that evaluates one slice at a time gets them from several threads side by side; of one
    that evaluates many together, each step has all answers that go on and a slice of one prompt; or
    of texts that nobody waits to see answered, as many as its time has room for. Rows of a picture
    are no tokens, so they are a step of their own, which takes turns with those of the answers.
    """

    def __init__(self, room: RunnerContext, engine: Engine) -> None:
        self._context = room
        self._engine = engine
        self._pacer = SlicePacer()
        self._last_threads = StepThreads(1)
        self._waiting_answers = 0

    @property
    def is_batched(self) -> bool:
        return self._engine.max_slices > 1

    def choose(self, runnable: Sequence[RunningSequence]) -> list[RunningSequence]:
        """Choose who has a part in the next step: the first reader, and all who write. One whose
        last step failed is alone, so that it takes no others with it."""
        if not self.is_batched:
            return list(runnable[:1])
        if suspect := next((one for one in runnable if one.has_failed), None):
            return [suspect]
        if self._context.is_stateless:
            return list(self._gather(runnable))
        self._waiting_answers = sum(not one.is_reading for one in runnable)
        if runnable[0].reads_picture:
            return [runnable[0]]
        runnable = [one for one in runnable if not one.reads_picture]
        reader = next((one for one in runnable if one.is_reading), None)
        return [one for one in runnable if one is reader or not one.is_reading][
            : self._engine.max_slices
        ]

    def threads(self, step: Sequence[RunningSequence], limit: int) -> int:
        """Count the threads to ask for. A text that is long and must be read whole leaves one to
        other models, whose answers would stand still until its end."""
        if self._engine.reads_whole and limit > 1:
            pending = sum(sequence.pending for sequence in step)
            if pending > SMALLEST_SLICE and self._pacer.estimate(pending) > LONG_TEXT_SECONDS:
                limit -= 1
        return self._context.tuner.threads(self._kind(step), limit)

    def make(self, step: Sequence[RunningSequence], threads: StepThreads) -> list[StepResult]:
        """Evaluate one slice for each of these sequences, and let them go on."""
        room = self._context
        slices = self._slices(step, threads)
        if any(s.is_reading and s.pending > SHORT_PROMPT for s in step):
            room.contexts.limit_idle()
        kind, count = self._kind(step), sum(len(part.tokens) for part in slices)
        started = room.clock()
        try:
            logits = room.contexts.evaluate(slices, threads.count)
        except StepInterrupted:
            return [[] for _ in step]
        except Exception as error:
            return self._failed(step, error)
        seconds = room.clock() - started
        room.tuner.record(kind, threads.count, count, seconds)
        if not any(part.rows is not None for part in slices):
            self._pacer.record(*self._loads(step, slices), seconds, threads.count)
        else:  # answers were not in this step, but wait for its end
            waiting = self._waiting_answers
            seconds += self._pacer.gap(waiting)
            self._pacer.record(waiting, count, seconds, threads.count)
        results: list[StepResult] = []
        for sequence, found in zip(step, logits, strict=True):
            sequence.has_failed = False
            try:
                results.append(sequence.advance(found))
            except Exception as error:
                results.append(error)
        return results

    def interrupt(self, sequence: RunningSequence) -> None:
        """Let the step end early that works on a sequence which is not wanted any more, if it may
        be a long one: the others in it are stepped again."""
        if sequence.is_reading:
            self._engine.interrupt()

    def _slices(self, step: Sequence[RunningSequence], threads: StepThreads) -> list[LiveSlice]:
        if not self.is_batched:
            (sequence,) = step
            past, tuner = sequence.past, self._context.tuner
            end = tuner.slice_end(past, threads.count, exact=sequence.is_exact)
            return [sequence.next_slice(end - past)]
        if self._context.is_stateless:
            sizes = self._gather(step)
            self._last_threads = threads  # the next step is chosen by them
            return [sequence.next_slice(sizes[sequence]) for sequence in step]
        answers = sum(not sequence.is_reading for sequence in step)
        waiting = self._waiting_answers if step[0].reads_picture else 0
        size = self._pacer.slice_size(
            answers or waiting, threads.count, is_contended=threads.is_contended
        )
        if waiting:
            size = max(SMALLEST_SLICE, round(PICTURE_SHARE * size))
        size = min(fill_tiles(size, answers), self._engine.max_slice - answers)
        return [sequence.next_slice(size if sequence.is_reading else 1) for sequence in step]

    def _gather(self, texts: Sequence[RunningSequence]) -> dict[RunningSequence, int]:
        """Choose the texts of one step, and how much of each it reads. What has begun goes on
        first, so that at most one is read in part."""
        last = self._last_threads
        left = self._pacer.slice_size(0, last.count, is_contended=last.is_contended)
        left = min(left, self._engine.max_slice, GATHERED_TOKENS)
        sizes: dict[RunningSequence, int] = {}
        for sequence in sorted(texts, key=lambda text: not text.past):
            size = sequence.pending
            if len(sizes) == self._engine.max_slices or (sizes and left < 1):
                break
            if size > left and self._engine.reads_whole and sizes:
                continue
            sizes[sequence] = size if self._engine.reads_whole else min(size, max(1, left))
            left -= sizes[sequence]
        return sizes

    def _kind(self, step: Sequence[RunningSequence]) -> str:
        """Steps that can be compared: more answers take longer, but less for each."""
        if not self.is_batched:
            return step[0].kind
        if any(sequence.is_reading for sequence in step):
            return "prefill"
        return f"decode {len(step).bit_length()}"

    @staticmethod
    def _loads(step: Sequence[RunningSequence], slices: Sequence[LiveSlice]) -> tuple[int, int]:
        """Tokens of answers and of a prompt. A slice of one token is as quick as an answer's."""
        sizes = [len(part.tokens) for part in slices]
        return sum(size == 1 for size in sizes), sum(size for size in sizes if size > 1)

    @staticmethod
    def _failed(step: Sequence[RunningSequence], error: Exception) -> list[StepResult]:
        """Try each of several sequences once more, alone; what it held it reads again."""
        results: list[StepResult] = []
        for sequence in step:
            results.append(error if len(step) == 1 or isinstance(error, CacheFull) else [])
            sequence.has_failed = True
        return results
