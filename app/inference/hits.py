"""How often the KV cache spared work, by tier: counts for a status page, without anybody's text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from app.inference.protocol import Finished, Tier


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
