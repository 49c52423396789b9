"""Sends hostile requests, frames, bytes, imports, models, pictures and documents to a server.

Most are sound ones that were changed, each by its own seed. Whatever is sent: a sentence and a
status, no error inside Wick, no growth, and the server goes on.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.attack import Outcome, attack
from tests.prove.plan import Plan
from tests.prove.report import Report, format_counts

INPUTS: Final = 100_000
MAX_GROWTH_MB: Final = 64
MAX_MORE_FILES: Final = 16


async def prove(plan: Plan) -> Report:
    report = Report("hostile inputs")
    outcome = await attack(plan.folder, str(plan.seed), plan.rounds or INPUTS, plan.is_over)
    report.lose(*outcome.wrong, *_growth(outcome))
    report.scope = f"{sum(outcome.kinds.values()):,} inputs"
    report.figures = {
        "kinds": format_counts(outcome.kinds),
        "answers": format_counts(_by_class(outcome.statuses)),
        "memory": " → ".join(f"{size / 1e6:.0f} MB" for size in outcome.memory),
        "open files": " → ".join(map(str, outcome.files)),
    }
    return report


def _growth(outcome: Outcome) -> list[str]:
    (before, after), (few, many) = outcome.memory, outcome.files
    losses = []
    if after - before > MAX_GROWTH_MB << 20:
        losses.append(f"memory grew by {(after - before) / 1e6:.0f} MB")
    if many - few > MAX_MORE_FILES:
        losses.append(f"{many - few} more files are open")
    return losses


def _by_class(statuses: dict[str, int]) -> dict[str, int]:
    """Sum the statuses below 500 by their first digit."""
    found: dict[str, int] = {}
    for status, count in statuses.items():
        name = f"{status[0]}xx" if status.isdecimal() and status < "500" else status
        found[name] = found.get(name, 0) + count
    return found
