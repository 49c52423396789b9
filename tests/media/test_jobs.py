"""Who is served next."""

from __future__ import annotations

import pytest

from app.errors import QueueFull, ShuttingDown
from app.media.jobs import MAX_JOBS, MAX_JOBS_PER_USER, Job, JobQueue
from app.media.protocol import Transcribe


def job(user_id: int, number: int) -> Job:
    return Job(user_id, Transcribe(number, 0), b"", 1.0)


def taken(queue: JobQueue) -> list[int]:
    found = []
    while (each := queue.pop()) is not None:
        found.append(each.command.id)
    return found


async def test_everyones_first_comes_before_anyones_second() -> None:
    queue = JobQueue()
    for user_id, number in ((1, 11), (1, 12), (1, 13), (2, 21), (3, 31), (3, 32)):
        queue.add(job(user_id, number))
    assert taken(queue) == [11, 21, 31, 12, 32, 13]


async def test_a_user_and_all_together_may_have_so_many_and_no_more() -> None:
    queue = JobQueue()
    for number in range(MAX_JOBS_PER_USER):
        queue.add(job(0, number))
    with pytest.raises(QueueFull):
        queue.add(job(0, 99))
    for user_id in range(1, MAX_JOBS // MAX_JOBS_PER_USER):
        for number in range(MAX_JOBS_PER_USER):
            queue.add(job(user_id, number))
    with pytest.raises(QueueFull):
        queue.add(job(99, 1))
    assert len(queue) == MAX_JOBS


async def test_what_nobody_waits_for_is_not_done() -> None:
    queue = JobQueue()
    jobs = [job(1, number) for number in range(3)]
    for each in jobs:
        queue.add(each)
    jobs[0].result.cancel()
    queue.remove(jobs[1])
    assert taken(queue) == [2]
    queue.remove(jobs[2])  # it is taken: nothing is left to forget
    assert len(queue) == 0


async def test_all_that_waits_can_be_failed() -> None:
    queue = JobQueue()
    waiting = job(1, 1)
    queue.add(waiting)
    queue.fail(ShuttingDown("Bye."))
    with pytest.raises(ShuttingDown):
        await waiting.result
