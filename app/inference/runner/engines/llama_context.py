"""Sequences of llama.cpp's native context: what each holds, and the checkpoints behind it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from app.inference.runner.engines.engine import CacheFull, Context, EngineError, Logits, State

if TYPE_CHECKING:
    from app.inference.runner.engines.llama_cpp import LlamaCppEngine


class LlamaCppContext:
    """One sequence. `held`: how many positions it holds; `peak`: how many it held at most, of which
    some layers may have forgotten the first."""

    def __init__(self, engine: LlamaCppEngine, sequence: int) -> None:
        self._engine = engine
        self._native = engine.native
        self.sequence = sequence
        self.held = self.peak = 0
        self.kept_embedding: Logits | None = None

    def advance(self, held: int) -> None:
        """Tokens were evaluated for it."""
        self.held = held
        self.peak = max(self.peak, held)
        self.kept_embedding = None

    def reach(self, count: int) -> int:
        if count >= self.held:
            return self.held
        if self._is_whole:
            return count
        return self._engine.checkpoints.best(self.sequence, count)

    @property
    def _is_whole(self) -> bool:
        return self.peak <= self._engine.cuttable

    def cut(self, count: int) -> int:
        with self._engine.lock:
            left = self.reach(max(0, count))
            if left == self.held:
                return left
            if left == 0 or not self._rewind(left):
                self.clear()
                return 0
            self.held = left
            self._engine.checkpoints.cut(self.sequence, left)
            return left

    def _rewind(self, count: int) -> bool:
        """Go back to the first `count` positions; False when that failed."""
        if not self._is_whole:
            state = self._engine.checkpoints.get(self.sequence, count)
            if not self._native.write_state(self.sequence, state, partial=True):
                return False
        return self._native.cut(self.sequence, count)

    def clear(self) -> None:
        """Hold nothing."""
        self._native.cut(self.sequence, -1)
        self.held = self.peak = 0
        self._engine.checkpoints.cut(self.sequence, 0)

    def checkpoint(self) -> None:
        checkpoints = self._engine.checkpoints
        with self._engine.lock:
            if self._engine.cuts_anywhere or not self.held:
                return
            if checkpoints.has(self.sequence, self.held):
                return
            state = self._native.read_state(self.sequence, partial=True)
            checkpoints.put(self.sequence, self.held, state)

    def copy(self, source: Context, count: int) -> None:
        engine = self._engine
        with engine.lock:
            other = engine.own(source)
            if other is self or count < 1 or other.reach(count) != count:
                raise ValueError(f"{count} positions cannot be copied")
            self.clear()
            # All of it is shared and then taken back, which not every state can be at any place.
            self._native.share(other.sequence, self.sequence, -1)
            self.held, self.peak = other.held, other.peak
            engine.checkpoints.copy(other.sequence, self.sequence, count)
            if self.cut(count) != count:
                self.clear()
                raise EngineError("the engine could not copy a state")

    def embedding(self) -> Logits:
        if self.kept_embedding is None:
            raise EngineError("the engine kept no embedding")
        return self.kept_embedding.copy()

    def cuts(self, count: int) -> tuple[int, ...]:
        if count <= self._engine.cuttable:
            return ()
        last = self._engine.checkpoints.best(self.sequence, count - 1)
        return (last,) if last else ()

    def save(self, count: int) -> State:
        with self._engine.lock:
            self._engine.own(self)
            if count < 1 or self.reach(count) != count:
                raise ValueError(f"{count} positions cannot be saved")
            checkpoints = [
                (position, self._engine.checkpoints.get(self.sequence, position))
                for position in self.cuts(count)
            ]
            if count == self.held:
                state = self._native.read_state(self.sequence)
                return self._joined(state, checkpoints)
            scratch = self._engine.scratch
            try:
                scratch.copy(self, count)
                return self._joined(self._native.read_state(scratch.sequence), checkpoints)
            finally:
                scratch.clear()

    def _joined(self, state: State, checkpoints: Sequence[tuple[int, State]]) -> State:
        return state if self._engine.cuts_anywhere else join_states(state, checkpoints)

    def restore(self, state: State, count: int) -> None:
        engine = self._engine
        with engine.lock:
            engine.own(self)
            self.clear()
            is_state = 1 <= count <= engine.context_length and state.dtype == np.uint8
            if not is_state or state.ndim != 1 or not state.flags.c_contiguous:
                raise ValueError(f"this is no state of {count} positions")
            whole, checkpoints = (state, []) if engine.cuts_anywhere else split_states(state)
            if self._native.write_state(self.sequence, whole):
                self.held = self._native.length(self.sequence)
            self.peak = self.held
            if self.held != count:
                self.clear()
                if not engine.has_cells(count):
                    raise CacheFull("the cache has no cells for a state")
                raise ValueError(f"this is no state of {count} positions")
            for position, checkpoint in checkpoints:
                if 0 < position < count:
                    engine.checkpoints.put(self.sequence, position, checkpoint)

    def close(self) -> None:
        engine = self._engine
        with engine.lock:
            if engine.is_open(self):
                self.clear()
                engine.forget(self)


_PART: Final = np.dtype([("position", "<i8"), ("size", "<i8")])
MAX_PARTS: Final = 16


def join_states(state: State, checkpoints: Sequence[tuple[int, State]]) -> State:
    """Make one array of a state and of the checkpoints behind it, by position: a table of what
    follows, then that."""
    parts = [(0, state), *checkpoints]
    table = np.array([(len(parts), 0)] + [(at, part.size) for at, part in parts], _PART)
    return np.concatenate([table.view(np.uint8), *(part for _, part in parts)])


def split_states(joined: State) -> tuple[State, list[tuple[int, State]]]:
    """Take `join_states` back. Raises ValueError for other bytes."""
    if joined.size < 2 * _PART.itemsize:
        raise ValueError("this is no state with checkpoints")
    count = int(joined[: _PART.itemsize].view(_PART)["position"][0])
    start = (count + 1) * _PART.itemsize
    if not 1 <= count <= MAX_PARTS or joined.size < start:
        raise ValueError("this is no state with checkpoints")
    table = joined[_PART.itemsize : start].view(_PART)
    sizes = [int(size) for size in table["size"]]
    if min(sizes) < 0 or start + sum(sizes) != joined.size:
        raise ValueError("this is no state with checkpoints")
    parts = []
    for position, size in zip(table["position"], sizes, strict=True):
        parts.append((int(position), joined[start : start + size]))
        start += size
    return parts[0][1], parts[1:]


class Checkpoints:
    """States of sequences at positions to which they cannot be cut, as in recurrent models.

    They take at most `limit` bytes; the one that was not used for longest goes first.

    Not safe for threads, but any may ask for the best.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._states: OrderedDict[tuple[int, int], State] = OrderedDict()
        self._size = 0

    def put(self, sequence: int, position: int, state: State) -> None:
        self.discard(sequence, position)
        self._states[sequence, position] = state
        self._size += state.nbytes
        while self._size > self._limit:
            self.discard(*next(iter(self._states)))

    def has(self, sequence: int, position: int) -> bool:
        return (sequence, position) in self._states

    def best(self, sequence: int, count: int) -> int:
        """The last position of a checkpoint that is not beyond `count`; 0 where there is none."""
        known = list(self._states)  # at once: another thread may be changing it
        return max((p for s, p in known if s == sequence and p <= count), default=0)

    def get(self, sequence: int, position: int) -> State:
        self._states.move_to_end((sequence, position))
        return self._states[sequence, position]

    def copy(self, source: int, target: int, count: int) -> None:
        """Give `target` those of `source` up to `count`, too; the bytes are held once, and count
        twice."""
        for sequence, position in list(self._states):
            if sequence == source and position <= count:
                self.put(target, position, self._states[sequence, position])

    def cut(self, sequence: int, count: int) -> None:
        """Drop those beyond `count`."""
        for owner, position in list(self._states):
            if owner == sequence and position > count:
                self.discard(owner, position)

    def discard(self, sequence: int, position: int) -> None:
        state = self._states.pop((sequence, position), None)
        if state is not None:
            self._size -= state.nbytes
