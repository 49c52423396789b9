"""What happens that matters for security, one JSON object a line: in the log and in a file.

Never a password, a token, a key or anything that somebody wrote: people are told by their ids.
What anybody can cause without end is told so many times a minute and then only counted, or a flood
of it would push everything else out of the file.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

log = logging.getLogger("wick.audit")
FILE: Final = "audit.log"
LARGEST: Final = 2 << 20
OLD_FILES: Final = 4
ENDLESS: Final = frozenset({"refused", "key-refused", "login-failed", "limit-reached"})
FROM_ONE: Final = 30
FROM_ALL: Final = 300
"""Of each of those a minute, from one address and from all."""
MINUTE: Final = 60.0
LONGEST: Final = 200
"""Characters of one fact: a Host header is as long as its sender likes."""


def audit(event: str, **facts: str | int | float | None) -> None:
    """`event` is a word or two joined by hyphens; `facts` that are None are left out."""
    for ended, count in _flood.ended():
        _write("left-out", {"of": ended, "count": count})
    if event not in ENDLESS or _flood.may(event, str(facts.get("address") or facts.get("user"))):
        _write(event, facts)


class Flood:
    """Counts what is told within one minute, and what is left out of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._told: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[str] = Counter()

    def ended(self) -> list[tuple[str, int]]:
        """What was left out of a minute that is over: kinds of events, and how many."""
        if self._clock() < self._until:
            return []
        found = list(self._left_out.items())
        self._until = self._clock() + MINUTE
        self._told.clear()
        self._left_out.clear()
        return found

    def may(self, event: str, source: str) -> bool:
        """Whether one more is told."""
        if self._told[event, source] >= FROM_ONE or self._told[event, ""] >= FROM_ALL:
            self._left_out[event] += 1
            return False
        self._told[event, source] += 1
        self._told[event, ""] += 1
        return True


_flood = Flood()


def _write(event: str, facts: Mapping[str, str | int | float | None]) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    known = {
        name: fact[:LONGEST] if isinstance(fact, str) else fact
        for name, fact in facts.items()
        if fact is not None
    }
    log.info(json.dumps({"at": at, "event": event} | known))


class _PrivateFile(RotatingFileHandler):
    """One that only its owner may read. When the disk is full, the log has the events still."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_private)  # type: ignore[return-value]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """While this lasts, the events are also written to `audit.log` there, and older ones kept."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / FILE
    handler = _PrivateFile(path, maxBytes=LARGEST, backupCount=OLD_FILES, encoding="utf-8")
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
