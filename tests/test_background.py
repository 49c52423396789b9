"""Tasks of the application: none is lost, silent or left behind."""

from __future__ import annotations

import asyncio

import pytest

from app.background import BackgroundTasks
from app.errors import ChatBusy


async def fail(error: Exception) -> None:
    raise error


async def test_a_failed_task_that_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = BackgroundTasks()
    tasks.spawn(fail(RuntimeError("a bug")), "a title")
    await tasks.drain(10)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "The task a title failed.")
    ]
    assert "a bug" in caplog.text


async def test_a_failed_task_is_raised_to_whoever_awaits_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = BackgroundTasks()
    with pytest.raises(ChatBusy):
        await tasks.run_shielded(fail(ChatBusy("not now")), "a request")
    await tasks.drain(10)
    assert caplog.records == []


async def test_work_goes_on_without_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    tasks, may_go_on = BackgroundTasks(), asyncio.Event()

    async def work() -> None:
        await may_go_on.wait()
        raise ChatBusy("not now")

    caller = asyncio.create_task(tasks.run_shielded(work(), "a request"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_go_on.set()
    await tasks.drain(10)
    assert [r.getMessage() for r in caplog.records] == ["The task a request failed: not now"]


async def test_a_task_that_does_not_end_in_time_is_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = BackgroundTasks()
    endless = tasks.spawn(asyncio.Event().wait(), "an endless one")
    await tasks.drain(0)
    assert endless.cancelled()
    assert "an endless one did not end in time" in caplog.text
