"""Jobs that wait for a media child, everyone's first before anyone's second."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from app.errors import QueueFull
from app.media.protocol import MediaCommand, MediaResult

MAX_JOBS_PER_USER: Final = 8
MAX_JOBS: Final = 64


@dataclass(slots=True, eq=False)
class Job:
    """A command with its bytes, and who waits for its result. seconds: how long it may take."""

    user_id: int
    command: MediaCommand
    payload: bytes
    seconds: float
    result: asyncio.Future[MediaResult] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class JobQueue:
    """Jobs by user. The user whose job was taken is last in the next round."""

    def __init__(self) -> None:
        self._by_user: OrderedDict[int, deque[Job]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._by_user.values())

    def add(self, job: Job) -> None:
        """Raises QueueFull."""
        if len(self) >= MAX_JOBS or len(self._by_user.get(job.user_id, ())) >= MAX_JOBS_PER_USER:
            raise QueueFull("Too much is waiting to be turned into text. Try again in a while.")
        self._by_user.setdefault(job.user_id, deque()).append(job)

    def pop(self) -> Job | None:
        """Take the next job that somebody still waits for; None if there is none."""
        while self._by_user:
            user_id, jobs = self._by_user.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._by_user[user_id] = jobs
            if not job.result.done():
                return job
        return None

    def remove(self, job: Job) -> None:
        """Forget a job that nobody waits for any more, if it has not been taken."""
        jobs = self._by_user.get(job.user_id, deque())
        if job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._by_user[job.user_id]

    def fail(self, error: Exception) -> None:
        """Fail all jobs with that error."""
        while (job := self.pop()) is not None:
            job.result.set_exception(error)
