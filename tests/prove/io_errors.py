"""Lets reads, writes and syncs of the data folder fail or be cut short, while several people send.

A small C library is put before libc. What was acknowledged is there afterwards, and once nothing
fails any more, everything goes on, at the latest after a restart.
"""

from __future__ import annotations

import asyncio
import mmap
import shutil
import struct
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from websockets.exceptions import WebSocketException

from tests.e2e.server import POLL, Server
from tests.patience import PATIENCE
from tests.prove import checks
from tests.prove.people import add_people, name_people
from tests.prove.plan import Plan
from tests.prove.report import Report, format_counts
from tests.prove.senders import Senders, all_ended

ROUNDS: Final = 60
PEOPLE: Final = 3
SOURCE: Final = Path(__file__).with_name("faults.c")
KINDS: Final = ("EIO of writes", "EIO of syncs", "EIO of reads", "ENOSPC", "short writes")
RATES: Final = (5, 50, 300, 1000)
"""Calls of a thousand that fail."""
FAILING_SECONDS: Final = 2.0
LAYOUT: Final = struct.Struct("=IIQ")


def build(folder: Path) -> Path | None:
    """Compile the library; None where there is no compiler, or another system than Linux."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "faults.so"
    command: list[str | Path] = [compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    return library


@dataclass
class Faults:
    """Control of the library, shared with all processes that have it."""

    path: Path
    by_kind: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.path.write_bytes(bytes(LAYOUT.size))
        with self.path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size)

    def begin(self, kind: str, per_thousand: int) -> None:
        LAYOUT.pack_into(self._memory, 0, KINDS.index(kind) + 1, per_thousand, 0)

    def end(self, kind: str) -> None:
        count = LAYOUT.unpack_from(self._memory)[2]
        self.by_kind[kind] += count
        LAYOUT.pack_into(self._memory, 0, 0, 0, 0)


async def prove(plan: Plan) -> Report:
    report = Report("reads and writes that fail")
    library = build(plan.folder)
    if library is None:
        report.skipped = "no C compiler, or no Linux"
        return report
    data, faults = plan.make_folder("data"), Faults(plan.folder / "control")
    environ = {
        "LD_PRELOAD": str(library),
        "FAULTS_CONTROL": str(faults.path),
        "FAULTS_FOLDER": str(data),
    }
    logs = plan.make_folder("logs")
    server = Server(
        logs,
        plan.models,
        environ,
        before=("env",),
        data_dir=data,
        max_tokens=100,
        messages_per_second=1000,
        accounts="on",
    )
    senders = Senders(
        server, await add_people(server, plan.models, name_people(PEOPLE)), plan.chance
    )
    await server.start()
    rounds = restarts = 0
    try:
        for rounds in plan.numbers(ROUNDS):
            kind = KINDS[rounds % len(KINDS)]
            restarts += await _fail_once(faults, kind, senders, report)
            if report.losses:
                break
        await server.stop()
    finally:
        await server.close()
    report.lose(*checks.traces_of(server))
    report.scope = f"{rounds} times, {PEOPLE} people sending"
    report.figures = {
        "calls that failed": format_counts(faults.by_kind),
        "prompts acknowledged, all found": f"{len(senders.acknowledged):,}",
        "refused": format_counts(senders.refused),
        "answers": format_counts(checks.statuses_of(server)),
        "restarts needed": restarts,
    }
    return report


async def _fail_once(faults: Faults, kind: str, senders: Senders, report: Report) -> bool:
    """Let calls fail for a while; return whether the server had to be restarted afterwards."""
    server, chance = senders.server, senders.chance
    async with senders.sending():
        await asyncio.sleep(chance.uniform(0.2, 1))
        faults.begin(kind, chance.choice(RATES))
        await asyncio.sleep(chance.uniform(0.2, FAILING_SECONDS))
        faults.end(kind)
    has_ended = await _has_ended(server)
    is_stuck = not has_ended and await _is_stuck(senders)
    if is_stuck:
        report.lose(f"{kind}: nothing is accepted though nothing fails any more")
    if has_ended:
        await server.start()
    report.lose(*await all_ended(server), *checks.losses_of(server, senders.acknowledged))
    return has_ended


async def _has_ended(server: Server) -> bool:
    """Tell whether the server gave up, which it may where nothing can be read or written."""
    await asyncio.sleep(POLL)
    return server.has_ended


async def _is_stuck(senders: Senders) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(OSError, WebSocketException, httpx.HTTPError):
                    if await senders.send_one(senders.logins[0]):
                        return False
                await asyncio.sleep(POLL * 10)
    return True
