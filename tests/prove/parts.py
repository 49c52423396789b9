"""All parts, by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Final

from tests.prove import disk, hostile, io_errors, kills, roles, soak, tabs, upgrade
from tests.prove.plan import Plan
from tests.prove.report import Report

Part = Callable[[Plan], Coroutine[None, None, Report]]
PARTS: Final[Mapping[str, Part]] = {
    "kills": kills.prove,
    "disk": disk.prove,
    "io": io_errors.prove,
    "hostile": hostile.prove,
    "roles": roles.prove,
    "tabs": tabs.prove,
    "soak": soak.prove,
    "upgrade": upgrade.prove,
}
