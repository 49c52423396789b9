"""What an examination finds: a line each, and the mends of what can be mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Finding of one check. fix: mends it, and returns a sentence of what was done; may raise
    WickError or OSError."""

    topic: str
    level: Level
    sentence: str
    fix: Callable[[], str] | None = field(default=None, compare=False)


def ok(topic: str, sentence: str) -> Finding:
    return Finding(topic, "ok", sentence)


def note(topic: str, sentence: str, fix: Callable[[], str] | None = None) -> Finding:
    return Finding(topic, "note", sentence, fix)


def fault(topic: str, sentence: str, fix: Callable[[], str] | None = None) -> Finding:
    return Finding(topic, "fault", sentence, fix)
