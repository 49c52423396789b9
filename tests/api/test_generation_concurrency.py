"""Many programs and pages at once: everybody gets their own words, and all of them."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.api.events import Follower
from tests.e2e.server import Server
from tests.patience import PATIENCE

PROGRAMS, PAGES, FOLLOWED = 20, 10, 10


async def whole(http: httpx.AsyncClient, seed: int) -> str:
    given = request(seed) | {"stream": False}
    answer = await http.post("/v1/chat/completions", json=given)
    assert answer.status_code == 200, answer.text
    content: str = answer.json()["choices"][0]["message"]["content"]
    return content


async def streamed(http: httpx.AsyncClient, seed: int) -> str:
    text = ""
    async with http.stream("POST", "/v1/chat/completions", json=request(seed)) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    return text


def request(seed: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"number {seed}"}]
    given = {"model": "tiny", "messages": said, "seed": seed, "max_tokens": 40, "temperature": 1}
    return given | {"stream": True}


async def page(stack: AsyncExitStack, server: Server, number: int) -> ClientConnection:
    url = server.origin.replace("http", "ws") + f"/chats/{number + 0x1000:016x}/live"
    connection = await stack.enter_async_context(connect(url, origin=server.origin))  # type: ignore[arg-type]
    await connection.recv()
    body = {"text": f"page {number}", "client_id": f"{number:016x}", "model": "tiny"}
    await connection.send(json.dumps(body))
    return connection


async def seen(connection: ClientConnection) -> set[str]:
    """The ids of the messages that a page was shown, until its answer had ended."""
    frames = ""
    async with asyncio.timeout(PATIENCE):
        while not re.search('data-role="assistant" data-status="(?!queued|streaming)', frames):
            frames += str(await connection.recv())
    return set(re.findall(r'data-message-id="(\d+)"', frames))


async def test_concurrent_answers_of_all_protocols_are_not_mixed(server: Server) -> None:
    limits = httpx.Limits(max_connections=100)
    async with (
        httpx.AsyncClient(base_url=server.origin, timeout=120, limits=limits) as http,
        AsyncExitStack() as stack,
    ):
        pages = [await page(stack, server, number) for number in range(PAGES)]
        made = [
            (await http.post("/api/v1/chats", json={"text": f"chat {number}"})).json()
            for number in range(FOLLOWED)
        ]
        followers = [Follower(http, asked["events"]) for asked in made]
        # Their chats and the programs' answers run side by side, a few at a time.
        texts, shown, _ = await asyncio.gather(
            asyncio.gather(*(streamed(http, seed) for seed in range(PROGRAMS))),
            asyncio.gather(*(seen(connection) for connection in pages)),
            asyncio.gather(*(follower.read() for follower in followers)),
        )
        for seed in range(0, PROGRAMS, 5):
            assert texts[seed] == await whole(http, seed)
        assert len(set(texts)) == PROGRAMS
        for asked, follower in zip(made, followers, strict=True):
            answer = (await http.get(asked["events"].removesuffix("/events"))).json()
            assert follower.text == answer["text"]
            assert follower.end == answer
        assert all(len(ids) == 2 for ids in shown)
        assert len(set.union(*shown)) == 2 * PAGES
