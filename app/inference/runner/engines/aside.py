"""Evaluates rows that see each other in a native context of their own, beside the steps of others.

All rows of such a chunk are one step, of a second and more where nothing but a CPU computes. In a
second context of the same weights it takes no part in the steps of the first, whose answers go on;
that one stands still only while a state is copied out of it, and the rows' into it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from app.inference.runner.engines.engine import CacheFull, EngineError, GoOn, Slice, SliceRows
from app.inference.runner.engines.llama_batches import ContextSize, RowsItem
from app.inference.runner.engines.operations import OperationGate

if TYPE_CHECKING:
    from app.inference.runner.engines.llama_context import LlamaCppContext
    from app.inference.runner.engines.llama_cpp import LlamaCppEngine

MAX_STATE_BYTES: Final = 256 << 20
"""Of what stands before the rows; with more of it they are a step like any other."""
CELLS: Final = 256
"""The library makes contexts in multiples of so many."""


def can_evaluate_aside(engine: LlamaCppEngine, context: LlamaCppContext, rows: SliceRows) -> bool:
    """Tell whether these rows are better evaluated aside: on a GPU their step is short."""
    if rows.is_causal or rows.axes is not None or engine.native.is_recurrent:
        return False
    if engine.native.loaded_layers.is_whole:
        return False
    with engine.lock:
        return engine.native.state_size(context.sequence) <= MAX_STATE_BYTES


def evaluate_aside(
    engine: LlamaCppEngine, part: Slice, rows: SliceRows, threads: int, go_on: GoOn | None
) -> None:
    """Evaluate rows of a chunk that is whole. go_on: is asked between two operations.

    Raises as `Engine.evaluate` does, StepInterrupted when `go_on` said no.
    """
    with engine.lock:
        (context,) = engine.checked([part])
        if context.cut(part.past) != part.past:
            raise EngineError("the model's state cannot be cut there")
        before = engine.native.read_state(context.sequence) if part.past else None
        first = context.chunks.position(part.past)
    count = len(part.tokens)
    gate = OperationGate()
    native = engine.native.twin()
    try:
        cells = CELLS * math.ceil((first + count) / CELLS)
        native.open(ContextSize(cells, 1, count, 1, 1), engine.native.kv_type, gate.address)
        if before is not None and not native.write_state(0, before):
            raise EngineError("the engine could not copy a state")
        positions = np.arange(first, first + count, dtype=np.int32)[None]
        values = np.ascontiguousarray(rows.values, np.float32)
        with gate.asking(go_on):
            native.decode_rows(RowsItem(0, positions, values, is_causal=False), threads)
        native.cut(0, 0, first)  # what stands before the rows is in the other context
        after = native.read_state(0)
    finally:
        native.close()
    with engine.lock:
        engine.own(context)
        scratch = engine.scratch
        try:
            if not engine.native.write_state(scratch.sequence, after):
                raise CacheFull("the cache has no cells for a picture")
            engine.native.share(scratch.sequence, context.sequence, -1)
        finally:
            scratch.clear()
        context.chunks.add(part.past, rows.total, rows.positions)
        context.advance(part.past + count)
