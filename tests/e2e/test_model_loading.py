"""A load as a person sees it: slow, then failing. The test serves, and sets the pace."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from playwright.async_api import expect

from app.config import Settings
from app.errors import ModelLoadError
from app.inference import lifecycle
from app.inference.process import RunnerOptions, RunnerProcess
from app.models.model import Model
from app.server import create_app, shutdown
from tests.e2e.conftest import TINY, Meet
from tests.e2e.server import Server

Steps = asyncio.Queue[float | Exception]
# Every value that the bar of a load ever has on this page.
BARS = """
window.bars = [];
new MutationObserver(() => {
  const bar = document.querySelector('.card progress[value]');
  if (bar && window.bars.at(-1) !== bar.value) window.bars.push(bar.value);
}).observe(document, {subtree: true, childList: true, attributes: true});
"""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What every load hears, one after the other: how far it is, or why it fails. 1: it is done."""
    told: Steps = asyncio.Queue()
    monkeypatch.setattr(lifecycle, "MIN_SECONDS", lifecycle.MAX_SECONDS)
    usual = RunnerProcess.start

    async def start(
        model: Model, options: RunnerOptions, progress: Callable[[float], None]
    ) -> RunnerProcess:
        while (step := await told.get()) != 1:
            if isinstance(step, Exception):
                raise step
            progress(step)
        return await usual(model, options, progress)

    monkeypatch.setattr(RunnerProcess, "start", start)
    return told


@pytest.fixture
async def served(steps: Steps, tiny_store: Path, tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path, tiny_store)
    app = create_app(
        Settings(
            port=server.port,
            data_dir=tmp_path,
            models_dir=tiny_store,
            auto_pull=False,
            threads=1,
            max_tokens=5,
        )
    )
    config, stop = Config(), asyncio.Event()
    config.bind = [f"127.0.0.1:{server.port}"]

    async def until_stopped() -> None:
        await stop.wait()
        await shutdown(app)

    task = asyncio.create_task(serve(cast("Any", app), config, shutdown_trigger=until_stopped))
    await server.serves()
    yield server
    stop.set()
    await task


async def test_a_load_is_watched_fails_backs_off_and_is_tried_again(
    served: Server, steps: Steps, meet: Meet
) -> None:
    person = await meet(served)
    await person.context.add_init_script(BARS)
    chat, page = await person.open(), (await person.open("/models")).page
    card = page.locator(f"#card-{TINY}")
    state, option = card.locator(".state"), chat.model.locator("option:checked")
    await page.get_by_role("button", name="Load Tiny").click()
    for percent in (10, 40, 80):
        await steps.put(percent / 100)
        await expect(state).to_have_text(f"Loading {percent} %")
        await expect(option).to_have_text(f"Tiny · loading {percent} % · ctransformers")
    await steps.put(ModelLoadError("Its tensors are upside down."))
    await expect(state).to_have_text("Failed to load")
    await expect(card.locator(".bad")).to_have_text("Its tensors are upside down.")
    await expect(option).to_have_text("Tiny · failed to load · ctransformers")
    assert await page.evaluate("window.bars") == [10, 40, 80]
    # Who comes too early hears the same at once, and nothing is loaded for it.
    await chat.ask("Hello")
    await chat.ends("failed")
    await expect(chat.answer.locator(".line")).to_have_text(
        re.compile(r"^Its tensors are upside down\. It can be tried again in \d+ seconds?\.$")
    )
    assert steps.empty()
    # A person may try at once.
    await page.get_by_role("button", name="Load Tiny").click()
    await steps.put(1)
    await expect(state).to_have_text("Ready")
    await expect(card.locator(".bad")).to_have_count(0)
    await chat.ask("Hello again")
    await chat.ends()
