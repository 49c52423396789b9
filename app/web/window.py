"""The part of a long chat that a page holds: its end, and as much before it as was asked for."""

from __future__ import annotations

from collections.abc import Sequence

PAGE_SIZE = 30
"""Messages that are shown at first, and that each look further back adds."""
CONTEXT_ROWS = 4
"""Messages that stand before one that somebody comes to look at."""


def page_start(
    ids: Sequence[int], first: int | None = None, *, sought: int | None = None, more: int = 0
) -> int:
    """Where in the path `ids` the shown part begins.

    It begins at `first` while that is on the path, `more` messages earlier when more are wanted,
    and early enough to hold `sought`.
    """
    start = max(0, len(ids) - PAGE_SIZE)
    if first in ids:
        start = ids.index(first)
    if sought in ids:
        start = min(start, ids.index(sought) - CONTEXT_ROWS)
    return max(0, start - more)
