"""A worker at one moment, for the pages about models and about the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.inference.hits import CacheStats

State = Literal["idle", "loading", "ready", "unloading", "failed"]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """Figures only, nobody's words.

    state: idle and failed mean that nothing is loaded; error: why the last load failed.
    running of `slots` answers are being written; waiting: requests in line; answered: since the
    start of Wick; tokens_per_second: of the latest answers, each; context_length in tokens;
    hits: how the KV cache did. memory: bytes set aside for it, 0 when nothing is loaded; spare:
    bytes beyond those that it may keep chats in until another model needs them;
    load_progress: 0 to 1 while the engine tells; detail: what a load is waiting for or doing;
    idle_since: seconds by the worker's clock; unloads_in: seconds, None when it will stay.
    """

    name: str
    state: State
    pid: int | None
    slots: int
    running: int
    waiting: int
    answered: int
    context_length: int
    tokens_per_second: float | None
    hits: CacheStats
    error: str | None = None
    memory: int = 0
    spare: int = 0
    load_progress: float | None = None
    detail: str | None = None
    idle_since: float | None = None
    unloads_in: float | None = None
