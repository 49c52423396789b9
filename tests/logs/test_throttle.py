"""Lines of one kind are bounded in a minute, and what was left out is counted."""

from __future__ import annotations

import logging

from app.logs.throttle import MAX_KINDS, MAX_LINES, WINDOW_SECONDS, LineThrottle


def test_a_flood_of_one_kind_leaves_others_alone() -> None:
    now = [0.0]
    throttle = LineThrottle(lambda: now[0])
    assert throttle.flush() == []
    flood, other = ("app.a", "It failed: %s", logging.ERROR), ("app.b", "hello", logging.INFO)
    assert sum(throttle.allow(flood) for _ in range(1000)) == MAX_LINES
    assert throttle.allow(other)
    assert throttle.flush() == []
    now[0] = WINDOW_SECONDS
    assert throttle.flush() == [(flood, 1000 - MAX_LINES)]
    assert throttle.allow(flood)
    assert throttle.flush() == []


def test_kinds_without_end_are_one_kind() -> None:
    throttle = LineThrottle()
    throttle.flush()
    for number in range(3 * MAX_KINDS):
        throttle.allow(("library", f"message {number}", logging.WARNING))
    assert len(throttle._written) == MAX_KINDS + 1
    ((_, count),) = throttle.flush(at_end=True)
    assert count == 2 * MAX_KINDS - MAX_LINES
