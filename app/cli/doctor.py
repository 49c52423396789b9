"""`wick doctor`: looks whether everything is in order, and mends what it can."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.config import Settings
from app.datadir import ServerInfo, lock_data_folder, read_owner
from app.doctor import machine_checks as machine
from app.doctor.database_checks import check_copies, check_database
from app.doctor.findings import Finding, Level
from app.doctor.folder_checks import check_leftovers, check_lock, check_owners
from app.doctor.provider_checks import check_providers
from app.errors import DataFolderInUse, StoreUnusable, WickError

COMMAND: Final = "wick doctor"
UNKNOWN: Final = ServerInfo(0, "another process of Wick")
SIGNS: Final[dict[Level, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "note": ("note", "yellow"),
    "fault": ("FAULT", "bold red"),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        description="Check the data folder and its lock, database, search, files, models, engines,"
        " port and backups, while Wick runs or not. Without --fix nothing is changed. Exit code 1:"
        " there is a fault.",
    )
    parser.add_argument("--fix", action="store_true", help="mend what can be mended")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    with ExitStack() as stack:
        owner, problem = _owner(settings, stack)
        findings = list(examine(settings, owner, problem))
        show(findings)
        faults = {finding for finding in findings if finding.level == "fault"}
        mendable = [finding for finding in findings if finding.fix is not None]
        if not arguments.fix:
            if mendable:
                print(f"\n{len(mendable)} of them can be mended: wick doctor --fix")
            return 1 if faults else 0
        if mendable and (owner is not None or problem):
            print(f"\nNothing was mended, as {problem or 'Wick is running. Stop it first.'}")
            return 1 if faults else 0
        for finding in mendable:
            if _mended(finding):
                faults.discard(finding)
        return 1 if faults else 0


def _owner(settings: Settings, stack: ExitStack) -> tuple[ServerInfo | None, str]:
    """Own the data folder, if there is one and nobody else does; else return who does, or why it
    can't be owned."""
    if not settings.data_dir.is_dir():
        return None, ""
    try:
        stack.enter_context(lock_data_folder(settings.data_dir, COMMAND))
    except DataFolderInUse:
        return read_owner(settings.data_dir) or UNKNOWN, ""
    except StoreUnusable as error:
        return None, str(error)
    return None, ""


def examine(settings: Settings, owner: ServerInfo | None, problem: str = "") -> Iterator[Finding]:
    """Run all checks. `owner`: who uses the data folder; problem: why it can't be owned."""
    yield from machine.check_folder(settings, owner)
    yield from check_lock(settings, owner, problem)
    yield from check_owners(settings)
    yield from check_leftovers(settings)
    yield from machine.check_disk(settings)
    yield from check_database(settings)
    yield from check_copies(settings, owner)
    yield from machine.check_snapshots(settings, owner)
    yield from machine.check_models(settings)
    yield from machine.check_engines()
    yield from machine.check_port(settings, owner)
    yield from machine.check_backups(settings)
    yield from check_providers(settings)


def show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        sign, style = SIGNS[finding.level]
        table.add_row(Text(sign, style), finding.topic, Text(finding.sentence))
    Console(soft_wrap=False).print(table)


def _mended(finding: Finding) -> bool:
    assert finding.fix is not None  # noqa: S101 - only such ones are given
    try:
        print(f"\n{finding.topic}: {finding.fix()}")
    except (WickError, OSError) as error:
        print(f"\n{finding.topic}: not mended: {error}")
        return False
    return True
