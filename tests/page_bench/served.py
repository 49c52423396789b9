"""Measures the engine's speed behind the server: at a WebSocket, and on a page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.async_api import async_playwright
from websockets.asyncio.client import connect

from app.bench.run import QUESTION, Throughput

GROWTH = """
() => {
  window.seen = [];
  const look = () => {
    const text = document.querySelector("article:last-of-type[data-role=assistant] .text");
    if (text && text.textContent) {
      const length = text.textContent.length, last = window.seen.at(-1);
      if (!last || last[1] !== length) window.seen.push([performance.now() / 1000, length]);
    }
  };
  new MutationObserver(look).observe(document.getElementById("log"),
    { childList: true, subtree: true, characterData: true });
}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running `wick serve`. `page_seconds`: from its start until the page was answered."""

    url: str
    database: Path
    page_seconds: float

    def density(self) -> float:
        """Characters for each token of the newest answer."""
        with sqlite3.connect(self.database) as connection:
            row = connection.execute(
                "SELECT 1.0 * length(text) / completion_tokens FROM messages"
                " WHERE role = 'assistant' ORDER BY id DESC LIMIT 1"
            ).fetchone()
        connection.close()
        return float(row[0])

    def tokens_of_last_answer(self) -> int:
        with sqlite3.connect(self.database) as connection:
            row = connection.execute(
                "SELECT completion_tokens FROM messages ORDER BY id DESC LIMIT 1"
            ).fetchone()
        connection.close()
        return int(row[0])


@asynccontextmanager
async def served(models: Path, data: Path, tokens: int) -> AsyncIterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "WICK_PORT": str(port),
        "WICK_DATA_DIR": str(data),
        "WICK_MODELS_DIR": str(models),
        "WICK_MAX_TOKENS": str(tokens),
        "WICK_LOG_LEVEL": "warning",
    }
    url, started = f"http://127.0.0.1:{port}", time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "serve", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{url}/")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.01)
        yield Server(url, data / "wick.db", time.perf_counter() - started)
    finally:
        process.terminate()
        await process.wait()


async def over_websocket(server: Server) -> tuple[float, Throughput]:
    """Seconds to the first text, then the pace from the first frame with text to the last."""
    chat = secrets.token_hex(8)
    address = server.url.replace("http", "ws") + f"/chats/{chat}/live?seen="
    growth: list[tuple[float, int]] = []
    shown = Shown()
    async with connect(address, origin=server.url, max_size=None) as socket_:  # type: ignore[arg-type]
        asked = time.perf_counter()
        await socket_.send(
            json.dumps(
                {"text": QUESTION, "client_id": secrets.token_hex(8), "model": "smollm2-135m"}
            )
        )
        async for frame in socket_:
            assert isinstance(frame, str)
            length = shown.read(frame)
            if length:
                growth.append((time.perf_counter(), length))
            if re.search(r'data-role="assistant" data-status="(done|failed|interrupted)"', frame):
                break
    first, last = growth[0][0], growth[-1][0]
    characters = sum(length for _, length in growth[1:])
    # The first token came with the first frame; the last frame ends the count.
    tokens = server.tokens_of_last_answer()
    return first - asked, Throughput((tokens - 1) / (last - first), characters / (last - first))


# The first text comes with the whole message, whose status has changed; later blocks replace the
# open one, and its text grows.
_WHOLE = (
    r'data-role="assistant" data-status="streaming".*?<div data-body class="body[^>]*>'
    r'(.*?)<div class="open"[^>]*>(.*?)</div></div>'
)
_OPENED = r'-open strip:true">(.*?)<div class="open"[^>]*>(.*?)</div></div>'


@dataclass(slots=True)
class Shown:
    """Counter of the characters of an answer that the frames of its socket have shown."""

    finished: int = 0
    open: int = 0

    def read(self, frame: str) -> int:
        """Count the characters that this frame adds to what is shown."""
        before = self.finished + self.open
        for finished, opened in re.findall(_WHOLE, frame, re.DOTALL):
            self.finished, self.open = _letters(finished), _letters(opened)
        for finished, opened in re.findall(_OPENED, frame, re.DOTALL):
            self.finished, self.open = self.finished + _letters(finished), _letters(opened)
        for tail in re.findall(r'beforeend:#m\d+-tail">(.*?)</div>', frame, re.DOTALL):
            self.open += _letters(tail)
        return self.finished + self.open - before


def _letters(html: str) -> int:
    return len(re.sub(r"<[^>]*>", "", html))


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as seen on the page. `density`: characters that one of its tokens makes."""

    first_text: float
    characters: float
    density: float


async def on_page(server: Server, rounds: int) -> list[Seen]:
    """Measure `rounds` new chats, after one that is not counted: a browser is busy while it
    starts.
    """
    results = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = await browser.new_page()
        for _ in range(rounds + 1):
            await page.goto(server.url)
            await page.evaluate(GROWTH)
            await page.get_by_role("textbox", name="Message").fill(QUESTION)
            asked = await page.evaluate("() => performance.now() / 1000")
            await page.keyboard.press("Enter")
            # An observer reports inside the page; polling it would cost the engine cycles.
            await page.wait_for_selector(
                "article[data-role=assistant][data-status=done]", timeout=120_000
            )
            seen = await page.evaluate("() => window.seen")
            (start, before), (end, after) = seen[0], seen[-1]
            results.append(Seen(start - asked, (after - before) / (end - start), server.density()))
        await browser.close()
    return results[1:]
