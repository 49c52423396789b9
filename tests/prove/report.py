"""Reports of parts: what was done, figures, and what was lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

MAX_LOSSES: Final = 50
"""Losses that a report names; more are counted."""
HEAD: Final = "| what | how much | what came of it |\n|---|---|---|"


@dataclass(slots=True)
class Report:
    """Report of a part.

    scope: how much was done; figures: what was measured, by name; losses: what must not be.
    """

    part: str
    scope: str = ""
    figures: dict[str, object] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    seconds: float = 0.0
    skipped: str = ""

    def lose(self, *losses: str) -> None:
        self.losses += losses[: max(0, MAX_LOSSES - len(self.losses))]

    def lines(self) -> list[str]:
        if self.skipped:
            return [f"{self.part}: skipped, {self.skipped}"]
        head = f"{self.part}: {self.scope} in {self.seconds:,.0f} s"
        figures = [f"  {name}: {value}" for name, value in self.figures.items()]
        return [head, *figures, *(f"  LOST {loss}" for loss in self.losses)]

    def row(self) -> str:
        """Return the report as a row of a Markdown table."""
        if self.skipped:
            return f"| {self.part} | skipped | {self.skipped} |"
        outcome = f"**{len(self.losses)} lost**" if self.losses else "nothing lost"
        figures = [f"{name}: {value}" for name, value in self.figures.items()]
        scope = f"{self.scope}, {self.seconds / 60:.0f} min" if self.seconds >= 60 else self.scope
        return f"| {self.part} | {scope} | {'; '.join([outcome, *figures])} |"

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Report:
        return cls(**json.loads(path.read_text()))


def table(reports: Iterable[Report]) -> str:
    return "\n".join([HEAD, *(report.row() for report in reports)])


def format_counts(counts: Mapping[str, int]) -> str:
    """Return counts such as `3 done, 1 failed`, the highest first."""
    found = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} {name}" for name, count in found) or "none"
