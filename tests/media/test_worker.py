"""The life of a media child, with a real process and a model of random numbers."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from app.errors import MediaError, MediaFailed, MediaNotSetUp, ShuttingDown
from app.inference.memory_budget import MAIN, MemoryBudget
from app.inference.model_state import ModelState
from app.inference.runner.threads import FilePermits
from app.media.process import MediaOptions
from app.media.protocol import SAMPLE_RATE, Transcribe, Transcribed
from app.media.worker import CANCEL_SECONDS, MediaWorker
from tests.media.conftest import MEMORY
from tests.patience import PATIENCE, until

Hire = Callable[..., MediaWorker]
IDS = itertools.count(1)
NOISE = np.random.default_rng(3).normal(0, 3000, SAMPLE_RATE).astype("<i2").tobytes()


async def work(worker: MediaWorker, user_id: int = 1, seconds: float = PATIENCE) -> Transcribed:
    command = Transcribe(next(IDS), len(NOISE), language="en")
    result = await worker.run(command, NOISE, user_id=user_id, seconds=seconds)
    assert isinstance(result, Transcribed)
    return result


async def test_a_child_is_loaded_when_it_is_needed_and_holds_its_memory(hire: Hire) -> None:
    states: list[ModelState] = []
    worker: MediaWorker = hire(on_change=lambda: states.append(worker.state))
    assert worker.pid is None
    result = await work(worker)
    assert result.used == len(NOISE)
    assert result.language == "en"
    assert states == [ModelState.LOADING, ModelState.READY]
    assert worker._memory.reserved_bytes(worker.name) == MEMORY
    pid = worker.pid
    again = await work(worker)
    assert (again.segments, again.used) == (result.segments, result.used)
    assert worker.pid == pid
    await worker.close()
    assert states[2:] == [ModelState.UNLOADING, ModelState.IDLE]
    assert worker._memory.held(MAIN) == 0
    with pytest.raises(ShuttingDown):
        await work(worker)


async def test_a_child_that_dies_fails_its_job_and_is_replaced(hire: Hire) -> None:
    worker = hire()
    await work(worker)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    job = asyncio.create_task(work(worker))
    await until(lambda: worker.is_busy)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(MediaFailed, match="Voice to text crashed"):
        await job
    await work(worker)


async def test_a_child_that_died_while_nobody_needed_it_is_not_noticed(hire: Hire) -> None:
    worker = hire()
    await work(worker)
    assert worker.pid is not None
    child = psutil.Process(worker.pid)
    child.kill()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    await until(lambda: worker._child is not None and not worker._child.is_alive)
    await work(worker)


async def test_a_job_that_takes_too_long_is_ended_with_its_child(hire: Hire) -> None:
    worker = hire()
    await work(worker)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(MediaFailed, match="took more than 0 seconds"):
        await work(worker, seconds=0.1)
    await work(worker)


async def test_a_job_that_waits_can_be_cancelled(hire: Hire) -> None:
    worker = hire()
    await work(worker)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    first, second = (asyncio.create_task(work(worker, user)) for user in (1, 2))
    await until(lambda: len(worker._jobs) == 1)
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert len(worker._jobs) == 0
    os.kill(worker.pid, signal.SIGCONT)
    await work(worker)  # and what was begun confuses nobody


async def test_a_job_that_has_begun_ends_at_its_next_step(
    hire: Hire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = hire()
    await work(worker)
    child = worker._child
    assert child is not None
    failed = list[str]()
    wait = child.work

    async def watched(*given: Any) -> Any:
        try:
            return await wait(*given)
        except MediaFailed as error:
            failed.append(str(error))
            raise

    monkeypatch.setattr(child, "work", watched)
    with FilePermits(tmp_path / "permits", 2).acquire(2):  # it begins, and waits for a thread
        job = asyncio.create_task(work(worker))
        await until(lambda: worker.is_busy)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    await until(lambda: not worker.is_busy)
    assert failed == ["It was cancelled."]
    assert worker._child is child
    await work(worker)


async def test_a_cancelled_job_whose_step_never_ends_is_ended_with_its_child(hire: Hire) -> None:
    timers = Timers(CANCEL_SECONDS)
    worker = hire(later=timers.later)
    await work(worker)
    first = worker.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(work(worker))
    await until(lambda: worker.is_busy)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    waiting = asyncio.create_task(work(worker, user_id=2))
    (end,) = timers.due
    end()
    await waiting
    assert worker.pid not in (None, first)
    end()  # it was another job's
    await work(worker)


class Timers:
    """Calls what is due when the test says so."""

    def __init__(self, seconds: float) -> None:
        self.due: list[Callable[[], None]] = []
        self._seconds = seconds

    def later(self, seconds: float, function: Callable[[], None]) -> Timers:
        assert seconds == self._seconds
        self.due.append(function)
        return self

    def cancel(self) -> None:
        self.due.clear()


async def test_a_child_that_nobody_uses_is_ended(hire: Hire) -> None:
    timers = Timers(60)
    worker = hire(keep_alive=60, later=timers.later)
    await work(worker)
    await until(lambda: len(timers.due) == 1)
    await work(worker)
    await until(lambda: len(timers.due) == 1)
    timers.due[0]()
    await until(lambda: worker.state is ModelState.IDLE)
    assert worker.pid is None
    assert worker._memory.held(MAIN) == 0
    await work(worker)


async def test_it_leaves_for_a_model_that_needs_the_memory_and_waits_for_one(hire: Hire) -> None:
    workers: list[MediaWorker] = []
    memory = MemoryBudget(MEMORY, lambda: workers)
    workers.append(hire(memory))
    await work(workers[0])
    await until(lambda: not workers[0].is_busy)
    choice = await memory.reserve("model", [{MAIN: MEMORY}], lambda _: None, lambda: True)
    assert choice == 0
    assert workers[0].state is ModelState.IDLE
    job = asyncio.create_task(work(workers[0]))
    await until(lambda: workers[0].state is ModelState.LOADING)
    memory.release("model")
    await job


async def test_what_is_larger_than_all_memory_is_refused(hire: Hire) -> None:
    worker = hire(MemoryBudget(MEMORY - 1, list))
    with pytest.raises(MediaError, match="needs more memory"):
        await work(worker)
    assert worker.state is ModelState.IDLE


async def test_who_waits_hears_what_is_missing() -> None:
    async def options() -> MediaOptions:
        raise MediaNotSetUp("Set it up.")

    worker = MediaWorker("voice", "Voice to text", options, MemoryBudget(1, list))
    with pytest.raises(MediaNotSetUp, match=r"Set it up\."):
        await work(worker)
    await worker.close()


async def test_a_folder_without_a_model_is_an_error_in_words(tmp_path: Path) -> None:
    async def options() -> MediaOptions:
        return MediaOptions("voice", "Voice to text", tmp_path / "permits", 1, 1, tmp_path)

    worker = MediaWorker("voice", "Voice to text", options, MemoryBudget(1, list))
    with pytest.raises(MediaFailed, match=r"Voice to text could not be loaded\. "):
        await work(worker)
    assert worker._memory.held(MAIN) == 0
    await worker.close()
