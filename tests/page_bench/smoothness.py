"""Measures how smooth the page of a long chat is, by the browser's own figures: `python -m
tests.page_bench.smoothness`.

A chat of 500 messages is opened, and a message sent in it. The tiny model is faster than real ones.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page, async_playwright
from rich.console import Console

from app.models.store import ModelStore
from tests.e2e.conftest import FLAGS, executable
from tests.long_chat import plant
from tests.page_bench.served import served
from tests.tiny_gguf import write_tiny_gguf

MESSAGES: Final = 500
TOKENS: Final = 2000
MAX_SHIFT: Final = 0.01
MAX_TASK_MS: Final = 50.0

OBSERVE: Final = """
window.measured = { shift: 0, tasks: [], paint: 0 };
const watch = (type, use) => new PerformanceObserver((list) => list.getEntries().forEach(use))
  .observe({ type, buffered: true });
watch("layout-shift", (one) => { if (!one.hadRecentInput) window.measured.shift += one.value; });
watch("longtask", (one) => window.measured.tasks.push([one.startTime, one.duration]));
watch("largest-contentful-paint", (one) => { window.measured.paint = one.startTime; });
"""
"""What Lighthouse reads. Layout shifts just after an input are wanted, and do not count."""


@dataclass(frozen=True, slots=True)
class Smoothness:
    """shift: cumulative layout shift; paint_ms: largest contentful paint; longest_*: tasks, zero
    where none took 50 ms, while the page was opened and while an answer streamed."""

    paint_ms: float
    shift: float
    longest_opening_ms: float
    longest_streaming_ms: float


async def measure(messages: int = MESSAGES, tokens: int = TOKENS) -> Smoothness:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = ModelStore(folder / "models")
        store.install(write_tiny_gguf(folder / "tiny.gguf", context_length=4096), "tiny")
        (folder / "data").mkdir()
        async with (
            served(store.root, folder / "data", tokens) as server,
            async_playwright() as playwright,
        ):
            chat_id = plant(server.database, messages)
            browser = await playwright.chromium.launch(executable_path=executable(), args=FLAGS)
            page = await browser.new_page(viewport={"width": 1280, "height": 800})
            await page.add_init_script(OBSERVE)
            await page.goto(f"{server.url}/chats/{chat_id}")
            await page.get_by_text(f"number {messages}", exact=False).last.wait_for()
            figures = await measure_answer(page)
            await browser.close()
            return figures


async def measure_answer(page: Page) -> Smoothness:
    """Send a message in the chat that is open, and watch until its answer has ended."""
    message = page.get_by_role("textbox", name="Message", exact=True)
    await message.fill("Go on")
    sent: float = await page.evaluate("performance.now()")
    await message.press("Enter")
    ended = ":is([data-status=done], [data-status=failed])"
    answer = page.locator(f"article:has-text('Go on') + article[data-role=assistant]{ended}")
    await answer.wait_for(timeout=120_000)
    assert await answer.get_attribute("data-status") == "done", await answer.inner_text()
    found: dict[str, Any] = await page.evaluate("window.measured")
    return Smoothness(
        paint_ms=found["paint"],
        shift=found["shift"],
        longest_opening_ms=max((ms for at, ms in found["tasks"] if at < sent), default=0.0),
        longest_streaming_ms=max((ms for at, ms in found["tasks"] if at >= sent), default=0.0),
    )


def main() -> int:
    """Print the figures; return 1 where one misses its aim."""
    figures = asyncio.run(measure())
    console = Console(highlight=False)
    console.print(f"chat of {MESSAGES} messages, answer of {TOKENS} tokens")
    console.print(f"largest contentful paint   {figures.paint_ms:.0f} ms")
    console.print(f"layout shift               {figures.shift:.4f} (aim < {MAX_SHIFT})")
    for name, longest in (
        ("opening the page", figures.longest_opening_ms),
        ("while streaming", figures.longest_streaming_ms),
    ):
        text = f"{longest:.0f} ms" if longest else f"under {MAX_TASK_MS:.0f} ms"
        console.print(f"longest task {name:17} {text} (aim {MAX_TASK_MS:.0f} ms)")
    return int(figures.shift >= MAX_SHIFT or figures.longest_streaming_ms > MAX_TASK_MS)


if __name__ == "__main__":
    sys.exit(main())
