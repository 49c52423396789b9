"""Values that native calls of llama.cpp take and give: sizes, marks, batches of tokens or rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.inference.runner.engines.engine import Logits
from app.inference.runner.engines.llama_library import Batch


@dataclass(frozen=True, slots=True)
class ContextSize:
    """cells: positions of all sequences together; batch: tokens of one evaluation; outputs: of
    which logits are given, in all and for one sequence. embeds: batches give embeddings, not
    logits."""

    cells: int
    sequences: int
    batch: int
    outputs: int
    outputs_of_one: int
    embeds: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingMarks:
    """Tokens that a model was trained to see before a text, behind it, and between two."""

    before: tuple[int, ...]
    behind: tuple[int, ...]
    between: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Tokens of one sequence from a position on; `outputs`: of how many of the last the library
    is to give what it computed."""

    sequence: int
    position: int
    tokens: Sequence[int]
    outputs: int


@dataclass(frozen=True, slots=True, eq=False)
class RowsItem:
    """Rows of a picture of one sequence. positions: shape (axes, rows); is_causal: whether a row
    sees only those before it."""

    sequence: int
    positions: NDArray[np.int32]
    values: Logits
    is_causal: bool


class BatchArrays:
    """Room for `size` tokens of sequences below `sequences`."""

    def __init__(self, size: int, sequences: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)  # every token belongs to one sequence
        self._wanted = np.zeros(size, np.int8)
        self._names = np.arange(sequences, dtype=np.int32)
        self._pointers = np.zeros(size, np.uintp)

    def fill(self, items: Iterable[BatchItem]) -> Batch:
        """The batch of these items; good until the next one is filled."""
        end = 0
        for item in items:
            start, end = end, end + len(item.tokens)
            self._tokens[start:end] = item.tokens
            self._positions[start:end] = np.arange(item.position, item.position + end - start)
            self._pointers[start:end] = self._names.ctypes.data + 4 * item.sequence
            self._wanted[start:end] = 0
            self._wanted[end - item.outputs : end] = 1
        return Batch(
            n_tokens=end,
            token=self._tokens.ctypes.data,
            embd=None,
            pos=self._positions.ctypes.data,
            n_seq_id=self._counts.ctypes.data,
            seq_id=self._pointers.ctypes.data,
            logits=self._wanted.ctypes.data,
        )

    def fill_rows(self, item: RowsItem) -> Batch:
        """The batch of these rows, none of which gives logits; the item must live as long."""
        end = len(item.values)
        self._pointers[:end] = self._names.ctypes.data + 4 * item.sequence
        self._wanted[:end] = 0
        return Batch(
            n_tokens=end,
            token=None,
            embd=item.values.ctypes.data,
            pos=item.positions.ctypes.data,
            n_seq_id=self._counts.ctypes.data,
            seq_id=self._pointers.ctypes.data,
            logits=self._wanted.ctypes.data,
        )
