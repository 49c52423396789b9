"""A tile of a picture ends, or lets others come first, between two operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from app.inference.runner.engines.engine import Slice, SliceRows, StepInterrupted
from app.inference.runner.engines.llama_context import LlamaCppContext
from app.inference.runner.engines.mtmd_native import NativePicture, RowsChunk
from app.inference.runner.pictures.encoder import PictureEncoder
from tests.inference.numbers import agree, evaluate
from tests.inference.runner.engines.test_mtmd_native import (
    BEFORE,
    BEHIND,
    HIGH,
    WIDE,
    encoder_of,
    kind,
    opened,
    picture,
    pixels,
    read,
)

__all__ = ["kind"]


class Asked:
    """Says no at last."""

    def __init__(self, most: int) -> None:
        self.times, self._most = 0, most

    def __call__(self) -> bool:
        self.times += 1
        return self.times < self._most


@pytest.fixture
def shown(kind: str) -> NativePicture:
    _, native = opened(kind)
    return native.open_picture(WIDE, HIGH, pixels())


def first_rows(kind: str) -> tuple[int, int]:
    """The number of a chunk of rows, and how many it has."""
    _, native = opened(kind)
    layout = native.layout(WIDE, HIGH)
    return next((n, c.rows) for n, c in enumerate(layout) if isinstance(c, RowsChunk))


def test_a_tile_asks_between_its_operations(kind: str, shown: NativePicture) -> None:
    _, native = opened(kind)
    chunk, rows = first_rows(kind)
    asked = Asked(1000)
    whole = native.encode(shown, chunk, rows, 1)
    again = native.encode(shown, chunk, rows, 1, asked)
    assert asked.times > 20
    assert np.array_equal(whole, again)


def test_a_tile_ends_at_once(kind: str, shown: NativePicture) -> None:
    _, native = opened(kind)
    chunk, rows = first_rows(kind)
    asked = Asked(3)
    with pytest.raises(StepInterrupted):
        native.encode(shown, chunk, rows, 1, asked)
    assert asked.times == 3
    whole = native.encode(shown, chunk, rows, 1)
    assert np.array_equal(whole, native.encode(shown, chunk, rows, 1))


def test_an_error_between_operations_is_not_lost(kind: str, shown: NativePicture) -> None:
    _, native = opened(kind)
    chunk, rows = first_rows(kind)

    def fail() -> bool:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        native.encode(shown, chunk, rows, 1, fail)
    assert native.encode(shown, chunk, rows, 1).shape[0] == rows


@pytest.fixture
def contexts() -> Iterator[list[LlamaCppContext]]:
    engine, _ = opened("gemma3")
    made = [engine.new_context() for _ in range(2)]
    yield made
    for context in made:
        context.close()


def gemma_slice(context: LlamaCppContext, encoder: PictureEncoder) -> tuple[list[int], Slice]:
    """A prompt whose beginning is read, and the slice of its picture."""
    engine, _ = opened("gemma3")
    ids = [*BEFORE, *encoder.ids(picture()), *BEHIND]
    (span,) = encoder.spans(ids)
    evaluate(engine, context, ids[: span.start])
    rows = encoder.encode(span.rows, 1)
    given = SliceRows(rows, 0, len(rows), span.rows.positions, None, is_causal=False)
    return ids, Slice(context, ids[span.start : span.end], span.start, 0, rows=given)


def test_rows_aside_are_those_of_a_step(contexts: list[LlamaCppContext]) -> None:
    (engine, _), encoder = opened("gemma3"), encoder_of("gemma3")
    ids, part = gemma_slice(contexts[0], encoder)
    assert engine.evaluate_aside(part, 1)
    end = part.past + len(part.tokens)
    assert contexts[0].held == end
    expected = read(engine, contexts[1], encoder, ids)
    assert agree(expected, evaluate(engine, contexts[0], ids[end:], end))
    contexts[1].restore(contexts[0].save(len(ids)), len(ids))
    assert contexts[0].cut(part.past) in (part.past, 0)


def test_rows_aside_can_be_interrupted(contexts: list[LlamaCppContext]) -> None:
    (engine, _), encoder = opened("gemma3"), encoder_of("gemma3")
    ids, part = gemma_slice(contexts[0], encoder)
    with pytest.raises(StepInterrupted):
        engine.evaluate_aside(part, 1, Asked(2))
    assert contexts[0].held == part.past
    expected = read(engine, contexts[1], encoder, ids)
    assert agree(expected, read(engine, contexts[0], encoder, ids, part.past))


def test_causal_rows_are_steps(contexts: list[LlamaCppContext]) -> None:
    engine, _ = opened("gemma3")
    _, part = gemma_slice(contexts[0], encoder_of("gemma3"))
    assert part.rows is not None
    causal = replace(part, rows=replace(part.rows, is_causal=True))
    assert not engine.evaluate_aside(causal, 1)
