"""Audit log: security events, one JSON object a line, in the log and in a file.

Events never hold a password, a token, a key or anything a user wrote; they name users by id. Events
that anyone can cause without end are only counted after the first few in a minute, or a flood of
them would push everything else out of the file.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app.logs.files import PrivateFile
from app.logs.lines import FACTS

log = logging.getLogger("wick.audit")
FILE: Final = "audit.log"
MAX_FILE_BYTES: Final = 2 << 20
OLD_FILES: Final = 4
THROTTLED_EVENTS: Final = frozenset({"refused", "key-refused", "login-failed", "limit-reached"})
MAX_PER_SOURCE: Final = 30
MAX_TOTAL: Final = 300
"""Of each of those a minute, from one address and from all."""
WINDOW_SECONDS: Final = 60.0
MAX_VALUE_CHARS: Final = 200
"""Characters of one fact: a Host header is as long as its sender likes."""


def audit(event: str, **facts: str | int | float | None) -> None:
    """Log an event: a word or two joined by hyphens. `facts` that are None are left out."""
    for ended, count in _throttle.flush():
        _write("left-out", {"of": ended, "count": count})
    if event not in THROTTLED_EVENTS or _throttle.allow(
        event, str(facts.get("address") or facts.get("user"))
    ):
        _write(event, facts)


class EventThrottle:
    """Counter of the events logged within one minute, and of those left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._reported: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[str] = Counter()

    def flush(self) -> list[tuple[str, int]]:
        """Return what was left out of a minute that is over: kinds of events, and how many."""
        if self._clock() < self._until:
            return []
        found = list(self._left_out.items())
        self._until = self._clock() + WINDOW_SECONDS
        self._reported.clear()
        self._left_out.clear()
        return found

    def allow(self, event: str, source: str) -> bool:
        """Tell whether one more event may be logged."""
        if (
            self._reported[event, source] >= MAX_PER_SOURCE
            or self._reported[event, ""] >= MAX_TOTAL
        ):
            self._left_out[event] += 1
            return False
        self._reported[event, source] += 1
        self._reported[event, ""] += 1
        return True


_throttle = EventThrottle()


def _write(event: str, facts: Mapping[str, str | int | float | None]) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    known = {
        name: fact[:MAX_VALUE_CHARS] if isinstance(fact, str) else fact
        for name, fact in facts.items()
        if fact is not None
    }
    message = json.dumps({"at": at, "event": event} | known)
    log.info("%s", message, extra={FACTS: {"event": event} | known})


@contextmanager
def write_audit_file(folder: Path) -> Iterator[None]:
    """Write events to `audit.log` in `folder` as well, for as long as this is open; keep older
    ones.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / FILE
    handler = PrivateFile(path, maxBytes=MAX_FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        handler.close()
