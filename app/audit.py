"""What happens that matters for security, one JSON object a line: in the log and in a file.

Never a password, a token, a key or anything that somebody wrote: people are told by their ids.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
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
LONGEST: Final = 200
"""Characters of one fact: a Host header is as long as its sender likes."""


def audit(event: str, **facts: str | int | float | None) -> None:
    """`event` is a word or two joined by hyphens; `facts` that are None are left out."""
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
