"""Work in threads that takes long and can be stopped."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.errors import PullError
from app.models.install.progress import CancelToken, run_cancellable
from tests.patience import PATIENCE


def until_stopped(stop: CancelToken) -> None:
    stop.wait()
    stop.check()


async def test_cancelled_work_has_ended_on_return() -> None:
    begun, has_ended = threading.Event(), False

    def work(stop: CancelToken) -> None:
        nonlocal has_ended
        begun.set()
        try:
            until_stopped(stop)
        except PullError:
            has_ended = True
            raise

    task = asyncio.create_task(run_cancellable(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_ended


async def test_many_long_works_keep_no_page_waiting() -> None:
    tasks = [asyncio.create_task(run_cancellable(until_stopped)) for _ in range(24)]
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.to_thread(lambda: "a page") == "a page"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
