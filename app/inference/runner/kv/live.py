"""A native context that is alive, and what its KV cache holds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.inference.runner.engines.engine import Context, Logits, State
from app.inference.runner.kv.snapshot import Ids, Snapshot, TokenRuns
from app.inference.runner.threads import BLOCK


@dataclass(slots=True, eq=False)
class LiveContext:
    """A context and `tokens`: the ids whose keys and values it holds, position by position.

    `exact`: how many of its first positions are the same numbers whatever was evaluated before.
    The engine's sums are cut where a slice ends, and in the same places whenever all slices end at
    multiples of BLOCK. Tokens of an answer, each a slice of its own, are not among them.

    `chat` is the key of the chat that it holds or works for, `owner` the person's. The
    lock is held while native code works on the context: one thread steps it, another may copy from
    it between two steps.
    """

    context: Context
    tokens: list[int] = field(default_factory=list)
    chat: str = ""
    owner: str = ""
    token_runs: TokenRuns = ()
    last_used: int = 0
    uses: int = 0
    exact: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def evaluate(self, tokens: Sequence[int], threads: int) -> Logits:
        """Append `tokens` and return the logits after them. When it raises, nothing is held."""
        with self._lock:
            past = len(self.tokens)
            try:
                logits = self.context.evaluate(tokens, past, threads)
            except BaseException:
                self.cut(0)
                raise
            self.tokens.extend(tokens)
            if self.exact == past and len(self.tokens) % BLOCK == 0:
                self.exact = len(self.tokens)
            return logits

    def cut(self, count: int) -> None:
        """Hold the first `count` tokens only."""
        del self.tokens[count:]
        self.exact = min(self.exact, count)

    def embedding(self) -> Logits:
        """Of the token that was evaluated last."""
        with self._lock:
            return self.context.embedding()

    def copy(self, tokens: Ids) -> State | None:
        """The state of these first tokens, or None if there are none or it holds others now."""
        with self._lock:
            if not tokens.size or self.tokens[: tokens.size] != tokens.tolist():
                return None
            return self.context.save(tokens.size)

    def snapshot(self) -> Snapshot | None:
        """All it holds, or None when somebody has taken it in the meantime."""
        uses, spelled, chat, owner = self.uses, self.token_runs, self.chat, self.owner
        tokens = np.array(self.tokens, np.int32)
        state = self.copy(tokens)
        if state is None or self.uses != uses:
            return None
        exact = min(self.exact, tokens.size)
        return Snapshot(chat, tokens, spelled, state, self.last_used, owner=owner, exact=exact)

    def close(self) -> None:
        """Waits for who copies from it; afterwards nothing is held."""
        with self._lock:
            self.cut(0)
            self.context.close()

    def restore(self, snapshot: Snapshot) -> None:
        """Holds its tokens afterwards; when it raises, nothing is held."""
        with self._lock:
            self.cut(0)
            self.context.restore(snapshot.state, snapshot.tokens.size)
            self.tokens = snapshot.tokens.tolist()
            self.exact = snapshot.exact
