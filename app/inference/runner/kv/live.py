"""Live contexts: what the KV cache of each holds, and which ones are free."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.inference.protocol import MAX_CONTEXTS
from app.inference.runner.engines.engine import (
    CacheFull,
    Context,
    Engine,
    EngineError,
    GoOn,
    Logits,
    Slice,
    SliceRows,
    State,
    StepInterrupted,
)
from app.inference.runner.kv.snapshot import Ids, Snapshot, TokenRuns
from app.inference.runner.threads import BLOCK


@dataclass(slots=True, eq=False)
class LiveContext:
    """A context and `tokens`: the ids whose keys and values it holds, position by position.

    `exact`: how many of its first positions are the same numbers whatever was evaluated before.
    The engine's sums are cut where a slice ends, and in the same places whenever all slices end at
    multiples of BLOCK. Tokens of an answer, each a slice of its own, are not among them.

    `chat` is the key of the chat that it holds or works for, `owner` the person's; `shared`: how
    many of the first tokens are a system prompt's, which other people may have. The
    lock is held while native code works on the context: one thread steps it, another may copy from
    it between two steps.
    """

    engine: Engine
    context: Context
    tokens: list[int] = field(default_factory=list)
    chat: str = ""
    owner: str = ""
    shared: int = 0
    token_runs: TokenRuns = ()
    last_used: int = 0
    uses: int = 0
    exact: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def evaluate(self, tokens: Sequence[int], threads: int) -> Logits:
        """Append `tokens` and return the logits after them. When it raises, nothing is held."""
        (logits,) = evaluate(self.engine, [LiveSlice(self, tokens)], threads)
        return logits[-1, :]

    def append(self, tokens: Sequence[int]) -> None:
        """Note that its context has evaluated these."""
        past = len(self.tokens)
        self.tokens.extend(tokens)
        if self.engine.is_reproducible and self.exact == past and len(self.tokens) % BLOCK == 0:
            self.exact = len(self.tokens)

    def cut(self, count: int) -> None:
        """Hold the first `count` tokens only, or fewer, where the model cannot be cut there."""
        with self.lock:
            if count < len(self.tokens):
                del self.tokens[self.context.cut(count) :]
            self.exact = min(self.exact, len(self.tokens))

    def reach(self, count: int) -> int:
        """Count the tokens that `cut(count)` would leave."""
        return self.context.reach(count) if count < len(self.tokens) else count

    def embedding(self) -> Logits:
        """Embedding of the token that was evaluated last."""
        with self.lock:
            return self.context.embedding()

    def copy(self, tokens: Ids) -> State | None:
        """The state of these first tokens, or None if there are none or it holds others now."""
        with self.lock:
            if not tokens.size or self.tokens[: tokens.size] != tokens.tolist():
                return None
            if self.reach(tokens.size) != tokens.size:
                return None
            return self.context.save(tokens.size)

    def snapshot(self) -> Snapshot | None:
        """Copy all it holds; None when somebody has taken it in the meantime."""
        uses, spelled, chat, owner = self.uses, self.token_runs, self.chat, self.owner
        tokens = np.array(self.tokens, np.int32)
        state = self.copy(tokens)
        if state is None or self.uses != uses:
            return None
        exact, cuts = min(self.exact, tokens.size), self.context.cuts(tokens.size)
        used, shared = self.last_used, self.shared
        return Snapshot(
            *(chat, tokens, spelled, state, used),
            owner=owner,
            exact=exact,
            cuts=cuts,
            shared=shared,
        )

    def copy_from(self, other: LiveContext, tokens: Ids) -> bool:
        """Hold these first tokens of another one; whether it did hold them. When it raises, or
        does not, nothing is held. Only one thread may do this at a time."""
        with other.lock, self.lock:
            self.cut(0)
            if not tokens.size or other.tokens[: tokens.size] != tokens.tolist():
                return False
            if other.reach(tokens.size) != tokens.size:
                return False
            self.context.copy(other.context, tokens.size)
            self.tokens = tokens.tolist()
            self.exact = min(other.exact, tokens.size)
            return True

    def checkpoint(self) -> None:
        """Make a later cut to what is held now possible."""
        with self.lock:
            self.context.checkpoint()

    def close(self) -> None:
        """Waits for who copies from it; afterwards nothing is held."""
        with self.lock:
            self.cut(0)
            self.context.close()

    def restore(self, snapshot: Snapshot) -> None:
        """Holds its tokens afterwards; when it raises, nothing is held."""
        with self.lock:
            self.cut(0)
            self.context.restore(snapshot.state, snapshot.tokens.size)
            self.tokens = snapshot.tokens.tolist()
            self.exact = snapshot.exact


@dataclass(frozen=True, slots=True)
class LiveSlice:
    """Part of a step that appends to one context; see `Slice`."""

    live: LiveContext
    tokens: Sequence[int]
    outputs: int = 1
    embedding: bool = False
    rows: SliceRows | None = None

    def as_slice(self) -> Slice:
        past = len(self.live.tokens)
        return Slice(self.live.context, self.tokens, past, self.outputs, self.embedding, self.rows)


def evaluate(engine: Engine, step: Sequence[LiveSlice], threads: int) -> list[Logits]:
    """Evaluate a step. When it raises anything but CacheFull or StepInterrupted, these contexts
    hold nothing; threads whose steps have contexts in common must not run at once."""
    with contextlib.ExitStack() as locks:
        for part in step:
            locks.enter_context(part.live.lock)
        try:
            logits = engine.evaluate([part.as_slice() for part in step], threads)
        except (CacheFull, StepInterrupted):
            raise
        except BaseException:
            for part in step:
                part.live.cut(0)
            raise
        for part in step:
            part.live.append(part.tokens)
        return logits


def evaluate_aside(engine: Engine, part: LiveSlice, threads: int, go_on: GoOn) -> bool:
    """Evaluate rows beside other threads' steps, where the engine does that; it raises like
    `evaluate`."""
    with part.live.lock:
        try:
            if not engine.evaluate_aside(part.as_slice(), threads, go_on):
                return False
        except (CacheFull, StepInterrupted):
            raise
        except BaseException:
            part.live.cut(0)
            raise
        part.live.append(part.tokens)
        return True


class ContextSlots:
    """Up to `size` live contexts, made when needed. Not safe for threads: the pool's lock is held
    around every call."""

    def __init__(self, engine: Engine, size: int) -> None:
        self.all: list[LiveContext] = []
        self.free: list[LiveContext] = []
        self._engine = engine
        self._size = size
        self._uses = 0

    def acquire(self, best: LiveContext | None, key: str) -> LiveContext:
        """Take `best`, else the one to use for the chat `key`.

        Raises EngineError when every context is in use.
        """
        live = best or self._choose(key)
        live.uses += 1  # whoever copies from it behind our back sees that it is gone
        if live in self.free:
            self.free.remove(live)
        return live

    def release(self, live: LiveContext) -> None:
        self._uses += 1
        live.last_used = self._uses
        self.free.append(live)

    def take_oldest(self) -> LiveContext | None:
        """The idle one that holds something and was not used for longest; the caller's until it is
        put back."""
        idle = [live for live in self.free if live.tokens]
        if not idle:
            return None
        live = min(idle, key=lambda live: live.last_used)
        live.uses += 1
        self.free.remove(live)
        return live

    def put_back(self, live: LiveContext) -> None:
        self.free.append(live)

    def discard(self, live: LiveContext) -> None:
        if live in self.free:
            self.free.remove(live)
        live.close()
        self.all.remove(live)

    def set_limits(self, size: int) -> list[LiveContext]:
        """Make at most so many from now on. Those too many that nobody uses are taken out, the
        least recently used first; they are to be discarded."""
        self._size = max(1, min(size, MAX_CONTEXTS))
        surplus = sorted(self.free, key=lambda live: live.last_used)
        surplus = surplus[: max(0, len(self.all) - self._size)]
        for live in surplus:
            live.uses += 1
            self.free.remove(live)
        return surplus

    def _choose(self, key: str) -> LiveContext:
        if own := next((live for live in self.free if key and live.chat == key), None):
            return own
        if fresh := self._empty_or_new():
            return fresh
        if not self.free:
            raise EngineError("every context is in use")
        return min(self.free, key=lambda live: live.last_used)

    def _empty_or_new(self) -> LiveContext | None:
        if empty := next((live for live in self.free if not live.tokens), None):
            return empty
        if len(self.all) >= self._size:
            return None
        try:
            self.all.append(LiveContext(self._engine, self._engine.new_context()))
        except EngineError:
            if not self.all:
                raise
            self._size = len(self.all)  # memory is full: live with what there is
            return None
        return self.all[-1]
