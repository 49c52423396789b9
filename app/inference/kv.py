"""The live contexts and what their KV caches hold: a chat that goes on finds its prefix again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.inference.engine import Context, Engine, EngineError, Logits

MAX_CONTEXTS = 56  # see llama_cpp_engine


@dataclass(slots=True, eq=False)
class LiveContext:
    """A context and `tokens`: the ids whose keys and values it holds, position by position."""

    context: Context
    tokens: list[int] = field(default_factory=list)
    last_used: int = 0

    def evaluate(self, tokens: Sequence[int], threads: int) -> Logits:
        """Append `tokens` and return the logits after them. When it raises, nothing is held."""
        past, held = len(self.tokens), self.tokens
        self.tokens = []
        logits = self.context.evaluate(tokens, past, threads)
        held.extend(tokens)
        self.tokens = held
        return logits


def pool_size(kv_budget: int, context_length: int, kv_bytes_per_token: int) -> int:
    """How many contexts `kv_budget` bytes pay for when all are full; at least one."""
    each = max(1, context_length * kv_bytes_per_token)
    return min(MAX_CONTEXTS, max(1, kv_budget // each))


class ContextPool:
    """Up to `size` contexts, made when needed. Any thread may acquire and release.

    Everything that decides which prefix survives stands in `_choose`, and every prefix that is
    given up passes `acquire`: the places for copies in RAM or on disk.
    """

    def __init__(self, engine: Engine, size: int) -> None:
        self._engine = engine
        self._size = size
        self._free: list[LiveContext] = []
        self._made = 0
        self._clock = 0
        self._lock = threading.Lock()

    def acquire(self, tokens: Sequence[int]) -> tuple[LiveContext, int]:
        """A context cut down to what it shares with `tokens`, and the length of that.

        At least the last token is left to evaluate, since only that yields logits. Raises
        EngineError when every context is in use.
        """
        with self._lock:
            live, common = self._choose(np.asarray(tokens[:-1], np.int64))
            if live in self._free:
                self._free.remove(live)
        del live.tokens[common:]
        return live, common

    def release(self, live: LiveContext) -> None:
        with self._lock:
            self._clock += 1
            live.last_used = self._clock
            self._free.append(live)

    def close(self) -> None:
        """Closes the contexts that are not in use."""
        with self._lock:
            for live in self._free:
                live.context.close()
            self._free.clear()

    def _choose(
        self, wanted: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> tuple[LiveContext, int]:
        shared = [(_common(live.tokens, wanted), live) for live in self._free]
        # The longest common prefix, if that saves more work than cutting the rest away loses:
        # a system prompt alone is no reason to destroy another chat.
        common, best = max(shared, key=lambda s: (s[0], s[1].last_used), default=(0, None))
        if best is not None and common and 2 * common >= len(best.tokens) - common:
            return best, common
        if fresh := self._empty_or_new():
            return fresh, 0
        if not shared:
            raise EngineError("every context is in use")
        common, oldest = min(shared, key=lambda s: s[1].last_used)
        return oldest, common

    def _empty_or_new(self) -> LiveContext | None:
        if empty := next((live for live in self._free if not live.tokens), None):
            return empty
        if self._made >= self._size:
            return None
        try:
            live = LiveContext(self._engine.new_context())
        except EngineError:
            if not self._made:
                raise
            self._size = self._made  # memory is full: live with what there is
            return None
        self._made += 1
        return live


def _common(held: Sequence[int], wanted: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    """The length of the common prefix."""
    size = min(len(held), wanted.size)
    differ = np.flatnonzero(np.asarray(held[:size], np.int64) != wanted[:size])
    return int(differ[0]) if differ.size else size
