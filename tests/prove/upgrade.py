"""Opens the data folder of every earlier schema, and kills the server while it upgrades it.

The folders are those of `tests/recorded`. Whenever the upgrade is cut off, the next start finishes
it, and everything that was ever said is found, searched, exported and gone on with.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import httpx

from tests.e2e.server import ROOT, Server
from tests.prove import checks
from tests.prove.plan import Plan
from tests.prove.report import Report
from tests.recorded.opening import MANIFESTS, assert_opens, unpack

ROUNDS: Final = 3
"""How often each folder is upgraded."""
STARTING_SECONDS: Final = 0.4
"""At most, from the begin of a start to its kill."""


async def prove(plan: Plan, schemas: int = len(MANIFESTS)) -> Report:
    report, killed, cut = Report("upgrade from every schema"), 0, 0
    paths = sorted(plan.chance.sample(MANIFESTS, schemas))
    rounds = 0
    for rounds in plan.numbers(ROUNDS):
        for path in paths:
            folder = plan.make_folder(f"{path.stem}-{rounds}")
            unpack(path.with_suffix(".tar.xz"), folder)
            killed += 1
            before = version_of(folder)
            await _start_and_kill(folder, plan.chance.uniform(0, STARTING_SECONDS))
            cut += (reached := version_of(folder)) != newest()
            if reached not in {before, newest()}:
                report.lose(f"schema {before} was left at {reached}")
            try:
                await assert_opens(json.loads(path.read_text()), folder)
            except (AssertionError, httpx.HTTPError) as error:
                log = (folder / "server.log").read_text()
                report.lose(f"schema {before}: {error}", *checks.traces_in(log))
            report.lose(*_copies(folder, before))
    report.scope = f"{len(paths)} schemas, {rounds} times"
    report.figures = {
        "starts killed": killed,
        "of these before the upgrade was through": cut,
        "newest schema": newest(),
    }
    return report


def newest() -> int:
    return len(list((ROOT / "migrations").glob("*.sql")))


def version_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "wick.db")) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


async def _start_and_kill(folder: Path, seconds: float) -> None:
    """Kill a start in its middle, wherever that is."""
    server = Server(folder, folder / "models")
    server.launch()
    await asyncio.sleep(seconds)
    await server.kill()


def _copies(folder: Path, before: int) -> list[str]:
    """Check the copy that was made before the upgrade: it is whole."""
    if before == newest():
        return []
    copies = list(folder.glob(f"wick.db.schema-{before:02}.*"))
    if len(copies) != 1 or list(folder.glob("wick.db.*")) != copies:
        return [f"schema {before} has {len(copies)} copies of before the upgrade"]
    with closing(sqlite3.connect(copies[0])) as database:
        found = database.execute("PRAGMA integrity_check").fetchone()[0]
        schema = database.execute("PRAGMA user_version").fetchone()[0]
    return [] if found == "ok" and schema == before else [f"the copy of schema {before}: {found}"]
