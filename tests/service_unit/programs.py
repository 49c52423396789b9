"""A plan of a service, and what recorders were asked for."""

import sys
from pathlib import Path

from app.service_unit.plan import ServicePlan


def plan(folder: Path, *, is_system: bool = False) -> ServicePlan:
    return ServicePlan(
        is_system=is_system,
        command=(sys.executable, "-P", "-m", "app", "serve"),
        data=folder / "my data",
        settings=folder / "wick.env",
    )


def calls(record: Path) -> list[str]:
    found = record.read_text().splitlines()
    record.write_text("")
    return found
