"""Kills the server or the engine's child at random moments, and looks whether anything was lost.

A real server is asked over sockets and the API by several people at once. After each kill: every
prompt that was acknowledged is there, once; every answer goes on or says why it was cut; the
database is sound; no process and no temporary folder of the killed ones is left.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from tests.e2e.server import POLL, Server, gone
from tests.patience import PATIENCE, until
from tests.prove import checks
from tests.prove.people import add_people, name_people
from tests.prove.plan import Plan
from tests.prove.report import Report, format_counts
from tests.prove.senders import Senders, all_ended

ROUNDS: Final = 100
PEOPLE: Final = 4
LATEST_SECONDS: Final = 2.0
"""After the first prompts of a round, the last moment at which something is killed."""
MAX_TOKENS: Final = 300
Victim = Literal["server", "engine"]


@dataclass
class Trial:
    """Trial of one server: what was killed, and how long the restarts took."""

    server: Server
    senders: Senders
    temporary: Path
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    restarts: list[float] = field(default_factory=list)

    async def kill(self, victim: Victim, *, is_early: bool) -> list[str]:
        """Kill something while everybody sends; return what was lost.

        is_early: perhaps before any prompt was acknowledged.
        """
        acknowledged = len(self.senders.acknowledged)
        async with self.senders.sending():
            if not is_early:
                await until(lambda: len(self.senders.acknowledged) > acknowledged)
            await asyncio.sleep(self.chance.uniform(0.05, LATEST_SECONDS))
            await self._kill(victim)
        losses = await all_ended(self.server)
        losses += checks.losses_of(self.server, self.senders.acknowledged)
        return losses + await self.left_over(is_running=True)

    async def _kill(self, victim: Victim) -> None:
        """Kill it; a server that was killed starts again while everybody goes on sending."""
        engines = self.server.runners()
        if victim == "server" or not engines:
            self.killed["server"] += 1
            await self.server.kill()
            for pid in engines:
                await gone(pid)
            before = asyncio.get_running_loop().time()
            await self.server.start()
            self.restarts.append(asyncio.get_running_loop().time() - before)
        else:
            self.killed["engine"] += 1
            with suppress(ProcessLookupError):
                os.kill(engines[0], signal.SIGKILL)
            await gone(engines[0])

    async def left_over(self, *, is_running: bool) -> list[str]:
        """Name what killed processes left, once nothing more goes away."""
        strangers: list[int] = []
        folders: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    own = {self.server.pid, *self.server.runners()} if is_running else set()
                    strangers = [p for p in checks.processes_with(self.temporary) if p not in own]
                    folders = sorted(path.name for path in self.temporary.iterdir())
                    if not strangers and len(folders) <= is_running:
                        return []
                    await asyncio.sleep(POLL)
        return [f"left over: processes {strangers}, folders {folders}"]


async def prove(plan: Plan) -> Report:
    report = Report("kills of server and engine")
    folder, temporary = plan.make_folder("data"), plan.make_folder("temporary")
    server = Server(
        folder,
        plan.models,
        {"TMPDIR": str(temporary)},
        max_tokens=MAX_TOKENS,
        messages_per_second=1000,
        accounts="on",
    )
    logins = await add_people(server, plan.models, name_people(PEOPLE))
    trial = Trial(server, Senders(server, logins, plan.chance), temporary, plan.chance)
    await server.start()
    try:
        rounds = 0
        for number in plan.numbers(ROUNDS):
            victim: Victim = "engine" if plan.chance.random() < 0.5 else "server"
            report.lose(*await trial.kill(victim, is_early=number % 2 == 1))
            rounds = number
            if report.losses:
                break
            print(f"kill {number}: {len(trial.senders.acknowledged)} acknowledged", flush=True)
        if await server.stop():
            report.lose(f"the server ended badly: {server.log[-2000:]}")
    finally:
        await server.close()
    report.lose(*await trial.left_over(is_running=False), *checks.traces_of(server))
    report.scope = f"{rounds} kills ({format_counts(trial.killed)}), {PEOPLE} people sending"
    report.figures = {
        "prompts acknowledged, all found": f"{len(trial.senders.acknowledged):,}",
        "answers": format_counts(checks.statuses_of(server)),
    }
    if trial.restarts:
        report.figures["longest restart"] = f"{max(trial.restarts):.1f} s"
    return report
