"""Uses a server for an hour as people and programs do, and looks whether anything grows.

Memory, open files, tasks, threads, processes and files are measured again and again; after a
warm-up, a line is fitted through each. What is made is deleted again, so all of them stay flat.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import psutil
from websockets.asyncio.client import connect
from websockets.typing import Origin

from tests.e2e.server import POLL, ROOT, Server
from tests.patience import PATIENCE
from tests.prove import checks
from tests.prove.people import Login, add_people, name_people
from tests.prove.plan import MODEL, Plan
from tests.prove.report import Report

MINUTES: Final = 60.0
PEOPLE: Final = 3
SAMPLES: Final = 240
KV_RAM_MB: Final = 16
"""A cache that is soon full: it is meant to grow until then."""
WARM_PART: Final = 1 / 3
"""Of the time, in which caches fill."""
PROBE: Final = ROOT / "tests" / "prove" / "probe"
LIMITS: Final = {
    **{"server's memory, MB": 24.0, "its children's, MB": 24.0},
    **{"open files": 6.0, "tasks": 6.0, "threads": 4.0},
    **{"processes": 2.0, "files": 6.0},
}
"""By which the fitted line may rise from its begin to its end."""
Act = Callable[["Visit"], Awaitable[None]]


@dataclass
class Probe:
    """Probe of a server's tasks and threads, which it writes into a file when asked."""

    server: Server
    path: Path

    async def read(self) -> tuple[int, int]:
        self.path.unlink(missing_ok=True)
        os.kill(self.server.pid, signal.SIGUSR2)
        async with asyncio.timeout(PATIENCE):
            while not self.path.exists():
                await asyncio.sleep(POLL)
        tasks, threads = self.path.read_text().split()
        return int(tasks), int(threads)


@dataclass
class Visit:
    """One person's client, and a chat that it has just made."""

    server: Server
    login: Login
    client: httpx.AsyncClient
    chat_id: str = ""

    async def begin(self) -> None:
        """Begin a chat and wait for its answer."""
        body = {"text": f"What is {secrets.token_hex(4)}?", "model": MODEL}
        found = (await self.client.post("/api/v1/chats", json=body)).raise_for_status().json()
        self.chat_id = str(found["chat"]["id"])
        async with asyncio.timeout(PATIENCE):
            while await self._is_answering():
                await asyncio.sleep(POLL)

    async def end(self) -> None:
        """Delete the chat for good."""
        await self.client.delete(f"/api/v1/chats/{self.chat_id}?forever=true")

    async def _is_answering(self) -> bool:
        found = await self.client.get(f"/api/v1/chats/{self.chat_id}/messages")
        return any(one["status"] == "queued" for one in found.json()["data"])


async def read_pages(visit: Visit) -> None:
    for path in ("/", f"/chats/{visit.chat_id}", "/models", "/search?q=what", "/archive", "/you"):
        (await visit.client.get(path)).raise_for_status()


async def watch_and_leave(visit: Visit) -> None:
    """Open a tab, ask there, and vanish in the middle."""
    address = f"{visit.server.origin.replace('http', 'ws')}/chats/{visit.chat_id}/live"
    cookie = {"Cookie": visit.login.headers["Cookie"]}
    async with connect(
        address, origin=Origin(visit.server.origin), additional_headers=cookie, proxy=None
    ) as tab:
        prompt = {"text": "And then?", "client_id": secrets.token_hex(16), "model": MODEL}
        await tab.send(json.dumps(prompt))
        for _ in range(3):
            await tab.recv()
        tab.transport.abort()


async def stream(visit: Visit) -> None:
    """Ask like a program, and go away after the first tokens."""
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    async with visit.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for _ in answer.aiter_lines():
            break


async def attach(visit: Visit) -> None:
    """Upload a text and remove it again."""
    added = await visit.client.post("/api/v1/files?name=notes.txt", content=b"Fox " * 500)
    await visit.client.delete(f"/api/v1/files/{added.raise_for_status().json()['id']}")


async def export(visit: Visit) -> None:
    (await visit.client.get(f"/api/v1/chats/{visit.chat_id}/export.json")).raise_for_status()
    (await visit.client.get("/exchange/chats.json")).raise_for_status()


async def mistake(visit: Visit) -> None:
    """Ask for what is not there."""
    for path in ("/chats/nothing", "/api/v1/chats/0123456789abcdef", "/people"):
        await visit.client.get(path)
    await visit.client.post("/api/v1/chats", content=b"{")


ACTS: Final[tuple[Act, ...]] = (read_pages, watch_and_leave, stream, attach, export, mistake)


@dataclass
class Samples:
    """Samples of a server over time: a row of figures by each moment."""

    server: Server
    probe: Probe
    folders: Sequence[Path]
    moments: list[float] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)

    async def take(self) -> None:
        process = psutil.Process(self.server.pid)
        tasks, threads = await self.probe.read()
        children = process.children(recursive=True)
        files = sum(len(list(folder.rglob("*"))) for folder in self.folders)
        memory = [_megabytes(process), sum(map(_megabytes, children))]
        self.moments.append(time.monotonic())
        self.rows.append([*memory, process.num_fds(), tasks, threads, 1 + len(children), files])

    def rises(self) -> dict[str, float]:
        """Return by how much the line through each figure rises after the warm-up."""
        first = int(len(self.rows) * WARM_PART)
        moments, rows = np.array(self.moments[first:]), np.array(self.rows[first:])
        slopes = np.polyfit(moments - moments[0], rows, 1)[0]
        return dict(zip(LIMITS, slopes * (moments[-1] - moments[0]), strict=True))


def _megabytes(process: psutil.Process) -> float:
    with suppress(psutil.Error):  # it has ended
        return float(process.memory_info().rss) / 1e6
    return 0.0


async def prove(plan: Plan) -> Report:
    report = Report("soak")
    minutes = MINUTES if plan.minutes is None else plan.minutes
    data, temporary = plan.make_folder("data"), plan.make_folder("temporary")
    probe = plan.folder / "probe"
    environ = {
        "PYTHONPATH": f"{PROBE}{os.pathsep}{ROOT}",
        "PROBE": str(probe),
        "TMPDIR": str(temporary),
    }
    logs = plan.make_folder("logs")
    server = Server(
        logs,
        plan.models,
        environ,
        before=("env",),
        accounts="on",
        max_tokens=40,
        kv_ram_mb=KV_RAM_MB,
        titles="off",
        data_dir=data,
    )
    logins = await add_people(server, plan.models, name_people(PEOPLE))
    samples, acts = Samples(server, Probe(server, probe), (data, temporary)), Counter[str]()
    await server.start()
    try:
        users = [asyncio.create_task(_use(server, login, plan, acts)) for login in logins]
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            await asyncio.sleep(minutes * 60 / SAMPLES)
            await samples.take()
            for user in users:
                if user.done():
                    user.result()
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        report.lose(*checks.damage_of(server))
        if await server.stop():
            report.lose(f"the server ended badly: {server.log[-2000:]}")
    finally:
        await server.close()
    _judge(report, samples, minutes)
    report.lose(*checks.traces_of(server))
    report.scope = f"{minutes:.0f} minutes, {acts.total():,} visits of {PEOPLE} people"
    return report


async def _use(server: Server, login: Login, plan: Plan, acts: Counter[str]) -> None:
    """Make chats, use them in every way, and delete them."""
    async with httpx.AsyncClient(
        base_url=server.origin, timeout=PATIENCE, headers=login.headers
    ) as client:
        while True:
            visit = Visit(server, login, client)
            await visit.begin()
            for act in plan.chance.sample(ACTS, 3):
                await act(visit)
                acts[act.__name__] += 1
            await visit.end()
            await asyncio.sleep(plan.chance.uniform(0, 0.5))


def _judge(report: Report, samples: Samples, minutes: float) -> None:
    """Give first, last and fitted figures. Below a minute a line through them means nothing."""
    first, last = samples.rows[int(len(samples.rows) * WARM_PART)], samples.rows[-1]
    rises = samples.rises()
    for (name, limit), before, after in zip(LIMITS.items(), first, last, strict=True):
        report.figures[name] = f"{before:.0f} → {after:.0f} (line: {rises[name]:+.1f})"
        if minutes >= 1 and rises[name] > limit:
            report.lose(f"{name} rises by {rises[name]:.1f} in {minutes:.0f} minutes")
