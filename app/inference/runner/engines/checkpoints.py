"""States of sequences at positions to which they cannot be cut: for recurrent and hybrid models."""

from __future__ import annotations

from collections import OrderedDict

from app.inference.runner.engines.engine import State


class Checkpoints:
    """At most `limit` bytes over all sequences; the one that was not used for longest goes first.

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
        """Those of `source` up to `count` are `target`'s, too; the bytes are held once, and count
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
