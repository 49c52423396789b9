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
        self.chunks = RowTable()

    def advance(self, held: int) -> None:
        """Tokens were evaluated for it."""
        self.held = held
        self.peak = max(self.peak, held)
        self.kept_embedding = None

    def reach(self, count: int) -> int:
        if count >= self.held:
            return self.held
        count = self.chunks.start_of(count)
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
            self.chunks.cut(left)
            self._engine.checkpoints.cut(self.sequence, left)
            return left

    def _rewind(self, count: int) -> bool:
        """Go back to the first `count` positions; False when that failed."""
        if not self._is_whole:
            state = self._engine.checkpoints.get(self.sequence, count)
            if not self._native.write_state(self.sequence, state, partial=True):
                return False
        return self._native.cut(self.sequence, self.chunks.position(count))

    def clear(self) -> None:
        """Hold nothing."""
        self._native.cut(self.sequence, -1)
        self.held = self.peak = 0
        self.chunks.cut(0)
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
            self.chunks.copy(other.chunks)
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
                state = self._native.read_state(scratch.sequence)
                return scratch._joined(state, checkpoints)
            finally:
                scratch.clear()

    def _joined(self, state: State, checkpoints: Sequence[tuple[int, State]]) -> State:
        if not self._engine.cuts_anywhere:
            state = join_states(state, checkpoints)
        return self.chunks.joined(state) if self._engine.has_axes else state

    def restore(self, state: State, count: int) -> None:
        engine = self._engine
        with engine.lock:
            engine.own(self)
            self.clear()
            is_state = 1 <= count <= engine.context_length and state.dtype == np.uint8
            if not is_state or state.ndim != 1 or not state.flags.c_contiguous:
                raise ValueError(f"this is no state of {count} positions")
            if engine.has_axes:
                self.chunks, state = RowTable.split(state)
            whole, checkpoints = (state, []) if engine.cuts_anywhere else split_states(state)
            if self._native.write_state(self.sequence, whole):
                length = self._native.length(self.sequence)
                self.held = count if length == self.chunks.length(count) else length
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


class RowTable:
    """Chunks of pictures in a sequence: where each begins, its rows, and the positions it takes.

    A sequence holds as many entries as it has tokens and rows. The positions of a model with
    several axes are fewer: all rows of a chunk stand at one moment, and the text goes on behind the
    longer side. Such a model's states are saved with this table.
    """

    def __init__(self, table: Sequence[tuple[int, int, int]] = ()) -> None:
        self._table = list(table)

    def add(self, start: int, rows: int, positions: int) -> None:
        """Note a chunk whose first rows were evaluated."""
        if not self._table or self._table[-1][0] < start:
            self._table.append((start, rows, positions))

    def start_of(self, count: int) -> int:
        """The last place that is not beyond `count`, and within no chunk."""
        inside = (start for start, rows, _ in self._table if start < count < start + rows)
        return next(inside, count)

    def position(self, count: int) -> int:
        """The position of what stands behind the first `count` entries."""
        for start, rows, positions in reversed(self._table):
            if count > start:
                return (
                    self.position(start)
                    + (positions if count >= start + rows else 0)
                    + max(0, count - start - rows)
                )
        return count

    def length(self, count: int) -> int:
        """Return what the library calls the length of the first `count` entries.

        That is one more than the last position, of which all rows of a chunk may have one.
        """
        for start, rows, positions in self._table:
            if start < count <= start + rows and positions < rows:
                return self.position(start) + 1
        return self.position(count)

    def cut(self, count: int) -> None:
        self._table = [chunk for chunk in self._table if chunk[0] < count]

    def copy(self, other: RowTable) -> None:
        self._table = list(other._table)

    def joined(self, state: State) -> State:
        """Put the table before a state."""
        rows = [(len(self._table), 0, 0), *self._table]
        return np.concatenate([np.array(rows, "<i8").view(np.uint8).ravel(), state])

    @classmethod
    def split(cls, state: State) -> tuple[RowTable, State]:
        """Take `joined` back. Raises ValueError for other bytes."""
        if state.size < _CHUNK_BYTES:
            raise ValueError("this is no state with pictures")
        count = int(state[:8].view("<i8")[0])
        end = (count + 1) * _CHUNK_BYTES
        if not 0 <= count <= MAX_CHUNKS or state.size < end:
            raise ValueError("this is no state with pictures")
        table = state[_CHUNK_BYTES:end].view("<i8").reshape(count, 3)
        if count and (table.min() < 0 or table.max() > MAX_ENTRIES):
            raise ValueError("this is no state with pictures")
        return cls([(int(s), int(r), int(p)) for s, r, p in table]), np.ascontiguousarray(
            state[end:]
        )


_CHUNK_BYTES: Final = 24
MAX_CHUNKS: Final = 65_536
MAX_ENTRIES: Final = 1 << 31
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
