"""Fills the disk while several people send, and kills the server on it.

The disk is one in memory that only this process and its children see: the part runs itself anew
in a mount namespace. What was acknowledged is there afterwards; what could not be saved was
refused; once there is room again, everything goes on by itself.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.server import POLL, ROOT, Server, environment, gone
from tests.patience import PATIENCE
from tests.prove import checks
from tests.prove.people import Login, add_people, name_people
from tests.prove.plan import Plan
from tests.prove.report import Report, format_counts
from tests.prove.senders import Senders, all_ended

ROUNDS: Final = 20
PEOPLE: Final = 3
DISK_MB: Final = 40
FULL_SECONDS: Final = 3.0
BLOCK: Final = 4096
UNSHARE: Final = ("unshare", "--map-root-user", "--mount")
MOUNT: Final = f'mount -t tmpfs -o size={DISK_MB}m none "$1" && shift && exec "$@"'


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


async def prove(plan: Plan) -> Report:
    """Run the part where the disk is seen."""
    if not can_mount():
        return Report("full disk", skipped="no disk can be mounted here")
    disk, saved = plan.make_folder("disk"), plan.folder / "report.json"
    given = [plan.folder, plan.seed, plan.rounds or ROUNDS, plan.minutes or 0]
    command: list[str | Path] = [
        *(*UNSHARE, "sh", "-c", MOUNT, "sh", disk),
        *(sys.executable, "-m", "tests.prove.disk", *map(str, given)),
    ]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment({}))
    code = await process.wait()
    if not saved.exists():
        return Report("full disk", losses=[f"the part ended with exit code {code}"])
    return Report.load(saved)


@dataclass
class Disk:
    """Disk with the server's data."""

    folder: Path

    def fill(self) -> None:
        """Take all the room there is."""
        with suppress(OSError), (self.folder / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(BLOCK))

    def clear(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)


async def prove_here(plan: Plan, folder: Path) -> Report:
    """Fill and clear the disk that is mounted at `folder`."""
    report, disk = Report("full disk"), Disk(folder)
    logs = plan.make_folder("logs")
    server = Server(
        logs,
        plan.models,
        data_dir=folder,
        kv_disk_mb=4,
        max_tokens=100,
        messages_per_second=1000,
        accounts="on",
    )
    senders = Senders(
        server, await add_people(server, plan.models, name_people(PEOPLE)), plan.chance
    )
    await server.start()
    rounds = kills = 0
    try:
        for number in plan.numbers(ROUNDS):
            is_killed = plan.chance.random() < 0.3
            report.lose(*await _fill_once(disk, senders, is_killed=is_killed))
            rounds, kills = number, kills + is_killed
            if report.losses:
                break
        if await server.stop():
            report.lose(f"the server ended badly: {server.log[-2000:]}")
    finally:
        await server.close()
    report.lose(*checks.traces_of(server))
    report.scope = f"disk filled {rounds} times, {kills} times with a kill, {PEOPLE} people sending"
    report.figures = {
        "prompts acknowledged, all found": f"{len(senders.acknowledged):,}",
        "refused": format_counts(senders.refused),
        "answers": format_counts(checks.statuses_of(server)),
    }
    return report


async def _fill_once(disk: Disk, senders: Senders, *, is_killed: bool) -> list[str]:
    server, chance = senders.server, senders.chance
    async with senders.sending():
        await asyncio.sleep(chance.uniform(0, 1))
        disk.fill()
        await asyncio.sleep(chance.uniform(0, FULL_SECONDS))
        disk.fill()  # the reserve too, where the server has given it away
        await asyncio.sleep(chance.uniform(0, FULL_SECONDS))
        if is_killed:
            engines = server.runners()
            await server.kill()
            for pid in engines:
                await gone(pid)
    disk.clear()
    if is_killed:
        await server.start()
    losses = await _accepts_again(senders, senders.logins[0])
    losses += await all_ended(server)
    return losses + checks.losses_of(server, senders.acknowledged)


async def _accepts_again(senders: Senders, login: Login) -> list[str]:
    """Return once a prompt is acknowledged again; within the one patience."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while not await senders.send_one(login):
                await asyncio.sleep(POLL * 10)
            return []
    return ["nothing is accepted though there is room again"]


def main() -> None:
    folder, seed, rounds, minutes = sys.argv[1:]
    plan = Plan(Path(folder), int(seed), int(rounds), float(minutes) or None)
    asyncio.run(prove_here(plan, plan.folder / "disk")).save(plan.folder / "report.json")


if __name__ == "__main__":
    main()
