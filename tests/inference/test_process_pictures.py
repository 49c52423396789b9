"""Pictures that are shown to a runner in a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.inference.process import RunnerProcess
from app.inference.protocol import Failed, Finished, Generate
from app.models.model import Turn
from app.models.parameters import Sampling
from tests.inference.seeing import picture, seeing_model
from tests.inference.test_process import options
from tests.inference.tiny import tiny_model
from tests.patience import PATIENCE


async def end_of(runner: RunnerProcess, number: int, *turns: Turn) -> Finished | Failed:
    runner.send(Generate(number, turns, Sampling(temperature=0), 8, chat="chat"))
    async for event in runner.events():
        if isinstance(event, Finished | Failed) and event.id == number:
            return event
    raise AssertionError("it ended")


async def test_a_chat_with_a_picture_goes_on_in_another_process(tmp_path: Path) -> None:
    model = seeing_model("idefics3")
    asked = Turn("user", "What is this?", images=(picture(0),))
    more = (asked, Turn("assistant", "A cat."), Turn("user", "Sure?"))
    async with asyncio.timeout(PATIENCE):
        runner = await RunnerProcess.start(model, options(tmp_path))
        first = await end_of(runner, 1, asked)
        assert isinstance(first, Finished)
        await runner.shutdown(PATIENCE)
        runner = await RunnerProcess.start(model, options(tmp_path))
        later = await end_of(runner, 1, *more)
        await runner.kill()
    assert isinstance(later, Finished)
    assert later.tier == "disk"
    assert later.cached_tokens >= first.prompt_tokens - 20


async def test_a_model_of_texts_says_that_it_cannot_see(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = await RunnerProcess.start(tiny_model(), options(tmp_path))
        failed = await end_of(runner, 1, Turn("user", "?", images=(picture(0),)))
        await runner.kill()
    assert isinstance(failed, Failed)
    assert (failed.status, failed.message) == (400, "This model cannot see pictures.")
