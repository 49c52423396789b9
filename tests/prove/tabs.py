"""Has 300 tabs open, of 30 people who all send at once, while some tabs never read.

Every answer is whole, also as it was streamed; everybody's first answer begins before anybody's
second; memory stays within a bound, and comes back to where it was without tabs.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import psutil
from httpx_sse import aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.prove import checks
from tests.prove.people import Login, add_people, name_people
from tests.prove.plan import MODEL, Plan
from tests.prove.report import Report
from tests.prove.senders import all_ended

ROUNDS: Final = 3
PEOPLE: Final = 30
TABS_EACH: Final = 10
SLOW_EACH: Final = 2
MAX_TOKENS: Final = 400
SMALL_BUFFER: Final = 4096
MAX_GROWTH_MB: Final = 200
MAX_REMAINDER_MB: Final = 160
"""Of six rounds the first adds 66 MB, the last 3 MB: what the allocator and caches keep."""
SAMPLE_SECONDS: Final = 0.2
ORDER: Final = "SELECT id, created_at + first_token_seconds AS began FROM messages WHERE id = ?"


@dataclass
class Memory:
    """Memory of a server: before, at most and afterwards, in bytes."""

    process: psutil.Process
    before: int = 0
    peak: int = 0
    after: int = 0

    def read(self) -> int:
        return int(self.process.memory_info().rss)

    async def watch(self) -> None:
        while True:
            self.peak = max(self.peak, self.read())
            await asyncio.sleep(SAMPLE_SECONDS)

    def losses(self) -> list[str]:
        found = []
        if self.peak - self.before > MAX_GROWTH_MB << 20:
            found.append(f"memory grew by {(self.peak - self.before) / 1e6:.0f} MB")
        if self.after - self.before > MAX_REMAINDER_MB << 20:
            found.append(f"{(self.after - self.before) / 1e6:.0f} MB stay without tabs")
        return found


@dataclass
class Tabs:
    """Tabs of one round. firsts, seconds: ids of the first and second answer of each person."""

    server: Server
    logins: list[Login]
    firsts: list[int] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)

    async def ask_and_watch(self, tabs_each: int) -> list[str]:
        """Open all tabs, have everybody send two prompts, and follow the first answers."""
        chats = [secrets.token_hex(8) for _ in self.logins]
        watching: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as slow:
            idle = [
                slow.create_task(self._open_and_never_read(login, chat_id))
                for login, chat_id in zip(self.logins, chats, strict=True)
                for _ in range(min(SLOW_EACH, tabs_each // 3))
            ]
            for login, chat_id in zip(self.logins, chats, strict=True):
                for _ in range(tabs_each - len(idle) // len(chats)):
                    tab = await self._connect(login, chat_id)
                    watching.append(asyncio.create_task(self._read(tab)))
            self.firsts = await asyncio.gather(*map(self._ask, self.logins, chats))
            others = [secrets.token_hex(8) for _ in self.logins]
            self.seconds = await asyncio.gather(*map(self._ask, self.logins, others))
            losses = await asyncio.gather(*map(self._follow, self.logins, chats, self.firsts))
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*watching)
            for task in idle:
                task.cancel()
        return [loss for loss in losses if loss]

    def _connect(self, login: Login, chat_id: str, **more: Any) -> connect:
        return connect(
            f"{self.server.origin.replace('http', 'ws')}/chats/{chat_id}/live",
            origin=Origin(self.server.origin),
            additional_headers={"Cookie": login.headers["Cookie"]},
            proxy=None,
            max_size=None,
            close_timeout=1,
            **more,
        )

    async def _read(self, tab: ClientConnection) -> None:
        """Read until the chat's first answer has ended, as a page does."""
        async with tab:
            async for frame in tab:
                if 'data-role="assistant"' in str(frame) and 'data-status="done"' in str(frame):
                    return

    async def _open_and_never_read(self, login: Login, chat_id: str) -> None:
        """Read nothing, with hardly any buffer, until the server or the round has had enough."""
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", self.server.port))
        given = {"sock": small, "max_queue": 1, "ping_interval": None}
        with suppress(ConnectionClosed):
            async with self._connect(login, chat_id, **given) as tab:
                await tab.wait_closed()

    async def _ask(self, login: Login, chat_id: str) -> int:
        """Send a prompt by the chat's page and return the answer's id."""
        client_id = secrets.token_hex(16)
        async with self._connect(login, chat_id) as tab, asyncio.timeout(PATIENCE):
            await tab.send(json.dumps({"text": "Hello", "client_id": client_id, "model": MODEL}))
            async for frame in tab:
                if f'data-for="{client_id}" data-accepted="yes"' in str(frame):
                    break
        sql = "SELECT id FROM messages WHERE chat_id = ? AND role = 'assistant'"
        return int(self.server.rows(sql, chat_id)[0]["id"])

    async def _follow(self, login: Login, chat_id: str, answer: int) -> str:
        """Put an answer together from its events; name what differs from the stored text."""
        path, text = f"/api/v1/chats/{chat_id}/messages/{answer}", ""
        async with httpx.AsyncClient(
            base_url=self.server.origin, timeout=PATIENCE, headers=login.headers
        ) as client:
            async with aconnect_sse(client, "GET", f"{path}/events") as source:
                async for event in source.aiter_sse():
                    if event.event == "end":
                        break
                    if event.event in {"replace", "delta"}:
                        more = event.json()["text"]
                        text = more if event.event == "replace" else text + more
            stored = (await client.get(path)).json()
        if stored["status"] != "done" or stored["completion_tokens"] != MAX_TOKENS:
            return f"answer {answer} is {stored['status']} after {stored['completion_tokens']}"
        return "" if stored["text"] == text else f"answer {answer} was streamed differently"

    def unfair(self) -> list[str]:
        """Name second answers that began before everybody's first."""
        last = max(self._began(answer) for answer in self.firsts)
        early = [answer for answer in self.seconds if self._began(answer) < last]
        return [f"{len(early)} second answers began before all first ones"] if early else []

    def waits(self) -> list[float]:
        sql = "SELECT first_token_seconds AS waited FROM messages WHERE id = ?"
        return sorted(float(self.server.rows(sql, one)[0]["waited"]) for one in self.firsts)

    def _began(self, answer: int) -> float:
        return float(self.server.rows(ORDER, answer)[0]["began"])


async def prove(plan: Plan, people: int = PEOPLE, tabs_each: int = TABS_EACH) -> Report:
    report = Report("many tabs, slow readers")
    server = Server(
        plan.make_folder("data"),
        plan.models,
        accounts="on",
        max_tokens=MAX_TOKENS,
        titles="off",
        queue_limit=200,
        connections_per_address=2000,
    )
    logins = await add_people(server, plan.models, name_people(people))
    await server.start()
    memory, waits, rounds = Memory(psutil.Process(server.pid)), list[float](), 0
    try:
        await Tabs(server, logins[:1]).ask_and_watch(1)  # loads the model
        memory.before = memory.read()
        watch = asyncio.create_task(memory.watch())
        for number in plan.numbers(ROUNDS):
            rounds, tabs = number, Tabs(server, logins)
            report.lose(*await tabs.ask_and_watch(tabs_each), *await all_ended(server))
            report.lose(*tabs.unfair())
            waits = tabs.waits()
            print(f"round {rounds}: {memory.read() / 1e6:.0f} MB", flush=True)
        watch.cancel()
        memory.after = memory.read()
        report.lose(*memory.losses(), *checks.losses_of(server, {}))
        if await server.stop():
            report.lose(f"the server ended badly: {server.log[-2000:]}")
    finally:
        await server.close()
    report.lose(*checks.traces_of(server))
    slow = min(SLOW_EACH, tabs_each // 3) * people
    tabs_of = f"{people * tabs_each} tabs of {people} people, {slow} of which never read"
    report.scope = f"{tabs_of}, {rounds} times"
    answers, median = checks.statuses_of(server).total(), waits[len(waits) // 2]
    report.figures = {
        "answers, all whole": answers,
        "wait for the first token": f"median {median:.1f} s, at most {waits[-1]:.1f} s",
        "memory": f"{memory.before / 1e6:.0f} MB, at most {memory.peak / 1e6:.0f} MB, "
        f"afterwards {memory.after / 1e6:.0f} MB",
    }
    return report
