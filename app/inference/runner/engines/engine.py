"""Interface of an engine to the runner: weights that make contexts, and steps over some of them.

An engine knows nothing of text, chats or sampling; above this line nobody knows which one runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

GoOn = Callable[[], bool]
"""Tells whether a long computation may go on; it may take its time to answer."""
Logits = NDArray[np.float32]
State = NDArray[np.uint8]
"""What a context holds, as bytes that only an engine of the same identity understands."""


class EngineError(RuntimeError):
    """The engine refused one evaluation or one context; the weights are still good."""


class CacheFull(EngineError):
    """No cell is free for more positions. Nothing has changed: free some, then try again."""


class StepInterrupted(EngineError):
    """`Engine.interrupt` ended a step: its contexts hold what they held before."""


class Context(Protocol):
    """One KV cache. Used by one thread at a time; different contexts may be used side by side."""

    def reach(self, count: int) -> int:
        """Count the positions that `cut(count)` would leave."""

    def cut(self, count: int) -> int:
        """Drops what lies beyond the first `count` positions. How many are held then: fewer where
        the model's state cannot be cut there."""

    def checkpoint(self) -> None:
        """Makes a later cut to what is held now possible, where it would not be."""

    def copy(self, source: Context, count: int) -> None:
        """Replaces all that is held by the first `count` positions of another context of the same
        engine. Raises ValueError for a count out of its reach, EngineError when it fails."""

    def embedding(self) -> Logits:
        """Copy what the model makes of the token that was evaluated last: shape (embedding_size,),
        float32. Raises EngineError where nothing was."""

    def cuts(self, count: int) -> tuple[int, ...]:
        """List the positions to which a saved state of the first `count` can be cut, where it
        cannot be cut anywhere."""

    def save(self, count: int) -> State:
        """A copy of the first `count` positions, and of what cuts to `cuts(count)` need.

        Nothing of what stood behind them is in it. Raises ValueError for a count out of reach,
        EngineError when the engine fails, MemoryError.
        """

    def restore(self, state: State, count: int) -> None:
        """Replaces all that is held by the `count` positions of `state`.

        Whatever the bytes are, it cannot crash. Raises ValueError when they are not right,
        CacheFull.
        """

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class SliceRows:
    """Rows of a picture that stand in place of a slice's tokens, whose ids are then below 0.

    values: the numbers of these rows, shape (rows, width); place: how many rows of the same chunk
    stand before them, total: how many it has; positions: of the text that the chunk takes; axes:
    where each row of the chunk stands, shape (4, total), for models with several axes; is_causal:
    whether a row sees only those before it, else all of a chunk must be in one slice.
    """

    values: Logits
    place: int
    total: int
    positions: int
    axes: NDArray[np.int32] | None = None
    is_causal: bool = True


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of a step for one context: evaluate `tokens` behind its first `past` positions, so
    that truncating is only a smaller `past`.

    outputs: of how many of the last tokens the logits are wanted; embedding: instead of them
    `Context.embedding` will be wanted afterwards. rows: of a picture, for engines that take them;
    such a slice is a step of its own, and has no outputs.
    """

    context: Context
    tokens: Sequence[int]
    past: int
    outputs: int = 1
    embedding: bool = False
    rows: SliceRows | None = None


class Engine(Protocol):
    """The weights of one model in memory.

    context_length, max_slice (of one context in a step) and max_outputs (of one slice) count
    tokens; max_contexts: there may be at once; max_slices: of one step. Where that is one, steps
    of different contexts may be evaluated side by side, else only one after another.
    reads_whole: all tokens of a text must be in one slice, as an encoder sees them at once.
    is_reproducible: where all slices end at multiples of BLOCK tokens, the same tokens give the
    same numbers, whatever else is evaluated; cuttable: contexts that never held more
    tokens can be cut anywhere. takes_rows: of pictures, whose ids are below 0.
    """

    @property
    def vocab_size(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def max_slice(self) -> int: ...
    @property
    def max_outputs(self) -> int: ...
    @property
    def max_contexts(self) -> int: ...
    @property
    def max_slices(self) -> int: ...

    @property
    def reads_whole(self) -> bool: ...
    @property
    def is_reproducible(self) -> bool: ...
    @property
    def takes_rows(self) -> bool: ...
    @property
    def cuttable(self) -> int: ...

    @property
    def identity(self) -> str:
        """Name of all, beside the weights, that must be equal for a saved state to be good
        again."""

    def evaluate(self, step: Sequence[Slice], threads: int) -> list[Logits]:
        """The logits that each slice wants, shape (outputs, vocab_size), float32.

        The arrays are the engine's own: the caller may change them, and must have done with them
        before the next step of these contexts. Raises ValueError for ids, positions or counts out
        of range, CacheFull, EngineError when the engine fails.
        """

    def evaluate_aside(self, part: Slice, threads: int, go_on: GoOn | None = None) -> bool:
        """Evaluate rows that see each other, while another thread evaluates steps of other
        contexts; False where they are better a step of their own.

        go_on: is asked between two operations. Raises as `evaluate` does, StepInterrupted when
        `go_on` said no.
        """

    def interrupt(self) -> None:
        """Make a step that is being evaluated raise StepInterrupted, where the engine can; any
        thread may call it."""

    def is_state_size(self, size: int, count: int) -> bool:
        """Tell whether a saved state of `count` positions may have so many bytes."""

    def new_context(self) -> Context:
        """An empty context. Raises EngineError when there is no memory for it."""

    def close(self) -> None: ...
