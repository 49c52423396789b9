"""Status of a worker at one moment, with the statistics of its cache."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from app.inference.model_state import ModelState
from app.inference.protocol import Finished, Tier

# How often the KV cache spared work, by tier: counts for a status page, without anybody's text.


@dataclass(slots=True)
class CacheStats:
    """requests, tokens: by the tier that a prompt's beginning came from; evaluated: prompt tokens
    that had to be read all the same."""

    requests: Counter[Tier] = field(default_factory=Counter)
    tokens: Counter[Tier] = field(default_factory=Counter)
    evaluated: int = 0

    def count(self, finished: Finished) -> None:
        if not finished.prompt_tokens:
            return  # it ended before its prompt was made
        self.requests[finished.tier] += 1
        self.tokens[finished.tier] += finished.cached_tokens
        self.evaluated += finished.prompt_tokens - finished.cached_tokens


# A worker at one moment, for the pages about models and about the machine.


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
    state: ModelState
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
