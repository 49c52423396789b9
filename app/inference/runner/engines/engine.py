"""What the runner asks of an engine: weights that make contexts, contexts that evaluate tokens.

An engine knows nothing of text, chats or sampling; above this line nobody knows which one runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
State = NDArray[np.uint8]
"""What a context holds, as bytes that only an engine of the same identity understands."""


class EngineError(RuntimeError):
    """The engine refused one evaluation or one context; the weights are still good."""


class Context(Protocol):
    """One KV cache. Used by one thread at a time; different contexts may run side by side."""

    def evaluate(self, tokens: Sequence[int], past: int, threads: int) -> Logits:
        """The logits after `tokens`, shape (vocab_size,), float32.

        The array is the engine's own: the caller may change it, and must have done with it before
        the next evaluation of this context.

        `past`: how many positions of the cache stay; what lies beyond is overwritten, so that
        truncating is only a smaller `past`. At most `Engine.max_slice` tokens a call. Raises
        ValueError for ids or positions out of range, EngineError when the engine fails.
        """

    def embedding(self) -> Logits:
        """What the model makes of the token that was evaluated last, shape (embedding_size,),
        float32; a copy. Raises EngineError where nothing was."""

    def save(self, count: int) -> State:
        """A copy of the first `count` positions, shape (Engine.state_size(count),).

        Nothing of what stood behind them is in it. Raises ValueError for a count out of range,
        EngineError when the engine fails, MemoryError.
        """

    def restore(self, state: State, count: int) -> None:
        """Replaces all that is held by the `count` positions of `state`.

        Whatever the bytes are, it cannot crash. Raises ValueError when their number is not right.
        """

    def close(self) -> None: ...


class Engine(Protocol):
    """The weights of one model in memory. All attributes are counted in tokens."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def max_slice(self) -> int: ...

    @property
    def identity(self) -> str:
        """What must be equal (beside the weights) for a saved state to be good again."""

    def state_size(self, count: int) -> int:
        """Bytes of a saved state of `count` positions."""

    def new_context(self) -> Context:
        """An empty context. Raises EngineError when there is no memory for it."""

    def close(self) -> None: ...
