"""Runs one sequence to its end without a scheduler."""

from __future__ import annotations

from collections.abc import Iterator

from app.inference.protocol import Event
from app.inference.runner.sequence import RunnerContext, RunningSequence
from app.inference.runner.steps import StepMaker, StepThreads


def run_alone(sequence: RunningSequence, room: RunnerContext, threads: int = 1) -> Iterator[Event]:
    """The events of all its steps. Raises what a step raised."""
    maker = StepMaker(room, room.contexts.engine)
    while not sequence.ended:
        (result,) = maker.make(maker.choose([sequence]), StepThreads(threads))
        if isinstance(result, Exception):
            raise result
        yield from result
