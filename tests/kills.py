"""Kills the server or a runner at random moments, and looks whether anything was lost.

    python -m tests.kills --rounds 60 --seed 7

A real server, here with the real model, is asked over sockets and the API by several at once.
After each kill: every prompt that was acknowledged is there, once; every answer ends in exactly
one of the states that end one; no process and no temporary folder of the killed ones is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Origin

from tests.e2e.server import POLL, Server, gone
from tests.patience import PATIENCE, until
from tests.smollm2 import NAME, store_with_smollm2

SENDERS: Final = 4
PAUSE_SECONDS: Final = 1.0
"""At most, between two prompts of one sender: whatever has been asked is waited for."""
LATEST_SECONDS: Final = 4.0
"""After the first prompts of a round, the last moment at which something is killed."""
MAX_TOKENS: Final = 24
ENDED: Final = ("done", "stopped", "failed", "interrupted")
Send = Callable[["Trial", str, str, str], Awaitable[bool]]


@dataclass
class Trial:
    """Record of one server's life: what was killed, and what had been acknowledged by then."""

    server: Server
    temporary: Path
    chance: random.Random
    model: str
    latest: float
    acknowledged: dict[str, str] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)

    async def rounds(self, victims: Sequence[str]) -> None:
        await self.server.start()
        try:
            for number, victim in enumerate(victims, 1):
                await self._round(victim, is_early=number % 2 == 1)
                print(f"round {number}: {self.summary()}", flush=True)
            assert await self.server.stop() == 0, self.server.log[-2000:]
        finally:
            await self.server.close()
        await self._check_nothing_left(runs=False)

    def summary(self) -> str:
        statuses = self.server.rows(
            "SELECT status, count(*) FROM messages WHERE role = 'assistant' GROUP BY status"
        )
        return (
            f"{len(self.acknowledged)} prompts acknowledged, killed {dict(self.killed)}, "
            f"answers {dict(map(tuple, statuses))}"
        )

    async def _round(self, victim: str, *, is_early: bool) -> None:
        """Kill something. is_early: perhaps before any prompt was acknowledged."""
        acknowledged = len(self.acknowledged)
        senders = [
            asyncio.create_task(self._keep_sending(self.chance.choice((by_socket, by_api))))
            for _ in range(SENDERS)
        ]
        if not is_early:
            await until(lambda: len(self.acknowledged) > acknowledged)
        await asyncio.sleep(self.chance.uniform(0.05, self.latest))
        before = self.server.runners()
        if victim == "server" or not before:
            self.killed["server"] += 1
            await self.server.kill()
        else:
            self.killed["runner"] += 1
            with suppress(ProcessLookupError):
                os.kill(before[0], signal.SIGKILL)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        for pid in before[:1] if victim == "runner" else before:
            await gone(pid)
        if victim == "server" or not before:
            await self.server.start()
        await self._all_ended()
        self._check_answers()
        await self._check_nothing_left(runs=True)

    async def _keep_sending(self, send: Send) -> None:
        """One person, who begins chats and goes on with them."""
        chat_id = secrets.token_hex(8)
        while True:
            client_id, text = secrets.token_hex(16), f"Tell me about {secrets.token_hex(4)}."
            try:
                if await send(self, chat_id, client_id, text):
                    self.acknowledged[client_id] = text
            except (OSError, WebSocketException, httpx.HTTPError):
                await asyncio.sleep(POLL)
            await asyncio.sleep(self.chance.uniform(0, PAUSE_SECONDS))
            if self.chance.random() < 0.5:
                chat_id = secrets.token_hex(8)

    async def _all_ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.server.rows("SELECT 1 FROM messages WHERE status = 'queued'"):
                await asyncio.sleep(POLL)

    def _check_answers(self) -> None:
        asked = {
            row["client_id"]: row
            for row in self.server.rows("SELECT * FROM messages WHERE role = 'user'")
        }
        for client_id, text in self.acknowledged.items():
            row = asked.get(client_id)
            assert row is not None, f"{text} was acknowledged and is gone"
            assert row["text"] == text
        answers = Counter(
            row["parent_id"]
            for row in self.server.rows("SELECT * FROM messages WHERE role = 'assistant'")
        )
        assert answers == {row["id"]: 1 for row in asked.values()}, "not one answer for each prompt"
        for row in self.server.rows("SELECT * FROM messages WHERE role = 'assistant'"):
            assert row["status"] in ENDED, row["status"]
        assert not self.server.rows("SELECT 1 FROM checkpoints"), "text of an answer that has ended"

    async def _check_nothing_left(self, *, runs: bool) -> None:
        """Check that killed processes left nothing."""
        async with asyncio.timeout(PATIENCE):
            while True:
                own = {self.server.pid, *self.server.runners()} if runs else set()
                strangers = [pid for pid in processes_with(self.temporary) if pid not in own]
                folders = sorted(path.name for path in self.temporary.iterdir())
                if not strangers and len(folders) <= runs:
                    return
                await asyncio.sleep(POLL)


async def by_socket(run: Trial, chat_id: str, client_id: str, text: str) -> bool:
    """Submit a message like the page and tell whether it was acknowledged."""
    origin = run.server.origin
    address = f"{origin.replace('http', 'ws')}/chats/{chat_id}/live"
    async with connect(
        address, origin=Origin(origin), proxy=None, max_size=None, close_timeout=0.1
    ) as connection:
        await connection.send(
            json.dumps({"text": text, "client_id": client_id, "model": run.model})
        )
        async for frame in connection:
            if f'data-for="{client_id}"' in str(frame):
                return f'data-for="{client_id}" data-accepted="yes"' in str(frame)
    return False


async def by_api(run: Trial, _chat_id: str, client_id: str, text: str) -> bool:
    """Submit a message like a program, in a chat of its own."""
    body = {"text": text, "client_id": client_id, "model": run.model}
    async with httpx.AsyncClient(base_url=run.server.origin, timeout=PATIENCE) as client:
        answer = await client.post("/api/v1/chats", json=body)
        return answer.is_success


def processes_with(folder: Path) -> list[int]:
    """Find the processes whose temporary files are in `folder`."""
    wanted, found = f"TMPDIR={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


async def trial(
    folder: Path,
    model: Path,
    seed: int,
    victims: Sequence[str],
    *,
    latest: float = LATEST_SECONDS,
    max_tokens: int = MAX_TOKENS,
) -> Trial:
    """Run a trial with its data in `folder`, a round for each victim. Raises AssertionError for
    what was lost or left.

    latest: seconds after which something is killed, at most.
    """
    temporary = folder / "temporary"
    temporary.mkdir()
    server = Server(
        *(folder, model.parent, {"TMPDIR": str(temporary)}),
        max_tokens=max_tokens,
        messages_per_second=1000,
    )
    run = Trial(server, temporary, random.Random(seed), model.name, latest)
    await run.rounds(victims)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    given = parser.parse_args()
    print(f"--seed {given.seed} --rounds {given.rounds}", flush=True)
    began = time.monotonic()
    victims = random.Random(given.seed).choices(("server", "runner"), k=given.rounds)
    with tempfile.TemporaryDirectory(prefix="wick-kills-") as folder:
        run = asyncio.run(trial(Path(folder), store_with_smollm2() / NAME, given.seed, victims))
    print(f"Nothing was lost in {time.monotonic() - began:.0f} s: {dict(run.killed)} killed.")


if __name__ == "__main__":
    main()
