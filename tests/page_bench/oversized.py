"""Measures what oversized messages cost another answer: `python -m tests.page_bench.oversized`.

One answer is streamed; meanwhile four requests with a message of a million characters each come at
once, of every kind of text. Run nothing else meanwhile.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
from rich.console import Console

from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.smollm2 import NAME, store_with_smollm2

CHARACTERS: Final = 1_000_000
TEXTS: Final = {
    "prose": "the people of the water ",
    "spaces": " ",
    "special names": "<|im_start|><|im_end|>",
}
AT_ONCE: Final = 4
STORY: Final = "Write a very long story about a fox and a hen. At least three thousand words."
SETTLED: Final = 20
"""Pieces of the answer before the others come."""


def oversized(piece: str) -> str:
    return (piece * (CHARACTERS // len(piece) + 1))[:CHARACTERS]


async def refusals(client: httpx.AsyncClient, model: str, text: str) -> list[tuple[int, Any]]:
    """Send requests at once and return the status and error code of each."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    replies = await asyncio.gather(
        *(client.post("/v1/chat/completions", json=body) for _ in range(AT_ONCE))
    )
    return [(reply.status_code, reply.json()["error"]["code"]) for reply in replies]


async def streamed(client: httpx.AsyncClient, model: str, tokens: int) -> AsyncIterator[float]:
    """Stream an answer and yield the time of each chunk."""
    body = {
        **{"model": model, "stream": True, "max_tokens": tokens},
        "messages": [
            {
                "role": "user",
                "content": STORY,
            }
        ],
    }
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                yield time.perf_counter()


def longest(times: Sequence[float]) -> float:
    return max((b - a for a, b in pairwise(times)), default=0.0)


async def measure(server: Server, console: Console) -> None:
    async with httpx.AsyncClient(base_url=server.origin, timeout=PATIENCE) as client:
        times: list[float] = []

        async def follow() -> None:
            async for moment in streamed(client, NAME, 3000):
                times.append(moment)

        for name, piece in TEXTS.items():
            times.clear()
            stream = asyncio.create_task(follow())
            async with asyncio.timeout(PATIENCE):
                while len(times) < SETTLED:
                    await asyncio.sleep(0.05)
            runner = psutil.Process(server.runners()[0])
            usual, before, begun = longest(times), runner.memory_info().rss, len(times)
            text, started = oversized(piece), time.perf_counter()
            found = set(await refusals(client, NAME, text))
            seconds = time.perf_counter() - started
            grown = (runner.memory_info().rss - before) / 1e6
            pause = longest([*times[max(0, begun - 1) :], time.perf_counter()])
            console.print(
                f"{name}: {found} within {seconds:.2f} s; longest pause {pause:.2f} s"
                f" (before {usual:.2f} s); the runner grew by {grown:.0f} MB"
            )
            stream.cancel()
            with suppress(asyncio.CancelledError):
                await stream


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), store_with_smollm2(), max_tokens=3000, threads=2)
        try:
            await measure(await server.start(), Console(highlight=False, soft_wrap=True))
        finally:
            await server.close()


if __name__ == "__main__":
    asyncio.run(main())
