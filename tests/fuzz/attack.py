"""Sends hostile inputs to a real server, and looks for what no input may cause."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from app.config import Settings
from app.models.store import ModelStore
from app.server import create_app
from tests.e2e.server import Server
from tests.fuzz.inputs import Input, make
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

Locks = MutableMapping[str, asyncio.Lock]
AT_ONCE: Final = 8
READ_SECONDS: Final = 0.25
"""Of an answer that has begun; some report without end."""
TOLD_EVERY: Final = 500
WARM_PART: Final = 4
"""A quarter of the inputs fills caches, before the server is measured."""
REFUSALS: Final = {501, 502, 503, 507}
"""Of the fives, those that are sentences: an encoding, a source, the queue or the disk says no."""
TRACES: Final = re.compile(r"Traceback|An error inside Wick|Task exception was never retrieved")
RULES = list(create_app(Settings()).url_map.iter_rules())
ROUTES = sorted(
    (method, rule.rule)
    for rule in RULES
    if not rule.websocket
    for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
)
SOCKETS = sorted(rule.rule for rule in RULES if rule.websocket)


@dataclass(slots=True)
class Outcome:
    """Errors found, and how many inputs of which kind got which status.

    memory, files: of the server after the first inputs, and after the last: bytes, and how many
    are open.
    """

    wrong: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def measure(self, server: Server) -> None:
        process = psutil.Process(server.pid)
        self.memory.append(process.memory_info().rss)
        self.files.append(process.num_fds())

    def count(self, kind: str, status: object) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1
        if (done := sum(self.statuses.values())) % TOLD_EVERY == 0:
            print(f"{done:,} sent, {len(self.wrong)} wrong", flush=True)


async def attack(
    folder: Path, seed: str, count: int, is_over: Callable[[], bool] = lambda: False
) -> Outcome:
    """Send the inputs SEED/0 to SEED/COUNT-1, some at once; afterwards the server still answers.

    is_over: whether to send no more.
    """
    ModelStore(folder / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    (folder / "data").mkdir()
    environ = {"HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}
    server = Server(folder / "data", folder / "models", environ, max_tokens=4)
    outcome, locks = Outcome(), defaultdict[str, asyncio.Lock](asyncio.Lock)
    await server.start()
    try:
        for numbers in (range(count // WARM_PART), range(count // WARM_PART, count)):
            waiting = itertools.takewhile(lambda _: not is_over(), numbers)
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(_send_all(server, seed, waiting, outcome, locks))
            outcome.measure(server)
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            if (await client.get(f"{server.origin}/healthz")).status_code != 200:
                outcome.wrong.append("the server does not answer any more")
    finally:
        await server.close()
    if found := TRACES.search(server.log):
        start = max(0, found.start() - 500)
        outcome.wrong.append(f"the log has: {server.log[start : start + 4000]}")
    return outcome


async def _send_all(
    server: Server, seed: str, numbers: Iterator[int], outcome: Outcome, locks: Locks
) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        for number in numbers:
            one = make(f"{seed}/{number}", ROUTES, SOCKETS)
            try:
                status = await _send(server, client, one, locks)
            except (httpx.TimeoutException, TimeoutError):
                outcome.wrong.append(f"{seed}/{number}: no answer to {_told(one)}")
                continue
            except (httpx.HTTPError, httpx.InvalidURL, OSError, WebSocketException):
                status = "refused"
            outcome.count(one.kind, status)
            if isinstance(status, int) and status >= 500 and status not in REFUSALS:
                outcome.wrong.append(f"{seed}/{number}: {status} to {_told(one)}")


def _told(one: Input) -> str:
    return f"{one.kind} {one.method} {one.path[:200]} {one.headers} {one.body[:300]!r} {one.frames}"


async def _send(server: Server, client: httpx.AsyncClient, one: Input, locks: Locks) -> object:
    own = {"Origin": server.origin}
    if one.kind == "raw":
        return await _send_raw(server, one.body)
    if one.kind == "frames":
        return await _send_frames(server, one)
    if one.kind == "import":
        files = {"file": ("chats.json", one.body)}
        async with locks["import"]:  # everybody has one file on its way at a time
            answer = await client.post(server.origin + one.path, files=files, headers=own)
        return answer.status_code
    if one.kind in {"model", "picture", "document"}:
        async with locks[one.kind]:  # models have one name
            return await _upload(server, client, one)
    async with client.stream(
        one.method, server.origin + one.path, headers=own | one.headers, content=one.body
    ) as response:
        with contextlib.suppress(TimeoutError):  # what reports without end is left
            async with asyncio.timeout(READ_SECONDS):
                async for _ in response.aiter_raw():
                    pass
        return response.status_code


async def _upload(server: Server, client: httpx.AsyncClient, one: Input) -> int:
    """Upload a file; what Wick took is removed again."""
    own = {"Origin": server.origin}
    answer = await client.request(
        one.method, server.origin + one.path, content=one.body, headers=own
    )
    if answer.is_success:
        here = "/models/hostile" if one.kind == "model" else f"/api/v1/files/{answer.json()['id']}"
        await client.delete(server.origin + here, headers=own)
    return answer.status_code


async def _send_frames(server: Server, one: Input) -> str:
    address = server.origin.replace("http", "ws") + one.path
    async with asyncio.timeout(PATIENCE), connect(address, origin=server.origin) as socket:  # type: ignore[arg-type]
        for frame in one.frames:
            await socket.send(frame)
        await (await socket.ping())
    return "frames"


async def _send_raw(server: Server, data: bytes) -> object:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read(64)
    finally:
        writer.close()
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(found[1]) if found else "closed"
