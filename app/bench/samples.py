"""What was measured: numbers by the name of the figure, one for each time it was measured."""

from __future__ import annotations

import statistics
from collections import defaultdict


class Samples:
    def __init__(self) -> None:
        self.lists: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, key: str, value: float | None) -> None:
        """`value`: in seconds, bytes or tokens a second; None is nothing measured."""
        if value is not None:
            self.lists[key].append(value)

    def median(self, key: str) -> float | None:
        return statistics.median(self.lists[key]) if key in self.lists else None
