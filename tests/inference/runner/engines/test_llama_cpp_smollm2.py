"""llama.cpp on a real model: however a text is evaluated, it says the same.

The library reads large slices, small ones and single tokens with different kernels, and its
attention adds 16-bit numbers in the order of the cells: that alone makes a mean divergence of
0.0045 nats with this file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from app.inference.runner.engines.engine import Logits, Slice
from app.inference.runner.engines.llama_context import LlamaCppContext
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from tests.inference.numbers import kl
from tests.smollm2 import original_of_smollm2

LENGTH, OUTPUTS = 120, 24
"""Tokens of a text, and of its end whose logits are compared."""
ROOT = Path(__file__).parents[4]
PAGES = ("docs/architecture.md", "docs/security.md", "docs/scaling.md")
ROUNDING = 0.01
NEAR_TIE = 0.25
"""Between the two likeliest tokens, below which either may come first."""


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppEngine]:
    made = LlamaCppEngine(original_of_smollm2(), 512, cells=2048)
    yield made
    made.close()


@pytest.fixture(scope="module")
def texts(engine: LlamaCppEngine) -> list[list[int]]:
    return [engine.encode((ROOT / page).read_text())[:LENGTH] for page in PAGES]


@pytest.fixture(scope="module")
def whole(engine: LlamaCppEngine, texts: list[list[int]]) -> list[Logits]:
    found = []
    for text in texts:
        context = engine.new_context()
        (logits,) = engine.evaluate([Slice(context, text, 0, outputs=OUTPUTS)], 1)
        found.append(np.array(logits))
        context.close()
    return found


@pytest.fixture
def contexts(engine: LlamaCppEngine) -> Iterator[list[LlamaCppContext]]:
    made = [engine.new_context() for _ in PAGES]
    yield made
    for context in made:
        context.close()


def are_close(found: Sequence[Logits], expected: Sequence[Logits]) -> bool:
    """Compare the likeliest tokens and the mean divergence."""
    pairs = list(zip(np.concatenate(expected), np.concatenate(found), strict=True))
    same = sum(one.max() - one[other.argmax()] <= NEAR_TIE for one, other in pairs)
    divergence = np.mean([kl(one, other) for one, other in pairs])
    return bool(same >= 0.99 * len(pairs) and divergence <= ROUNDING)


def read(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext], texts: list[list[int]], seed: int
) -> None:
    """All but the ends, in steps of slices of any size."""
    chance, end = random.Random(seed), LENGTH - OUTPUTS
    while waiting := [
        (context, text) for context, text in zip(contexts, texts, strict=True) if context.held < end
    ]:
        step = []
        for context, text in waiting:
            until = min(end, context.held + chance.randint(1, 64))
            step.append(Slice(context, text[context.held : until], context.held, outputs=0))
        engine.evaluate(step, 1)


def decode(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext], texts: list[list[int]]
) -> list[Logits]:
    """The ends, one token of each text a step."""
    found: list[list[Logits]] = [[] for _ in texts]
    for place in range(LENGTH - OUTPUTS, LENGTH):
        step = [
            Slice(context, [text[place]], place)
            for context, text in zip(contexts, texts, strict=True)
        ]
        for rows, logits in zip(found, engine.evaluate(step, 1), strict=True):
            rows.append(np.array(logits[0]))
    return [np.array(rows) for rows in found]


@pytest.fixture(scope="module")
def alone(engine: LlamaCppEngine, texts: list[list[int]]) -> list[Logits]:
    """By small slices and single tokens, each text by itself."""
    found = []
    for text in texts:
        context = engine.new_context()
        for start in range(0, LENGTH - OUTPUTS, 16):
            engine.evaluate([Slice(context, text[start : start + 16], start, outputs=0)], 1)
        found += decode(engine, [context], [text])
        context.close()
    return found


def test_slices_and_batches_say_what_the_whole_says(
    engine: LlamaCppEngine,
    contexts: list[LlamaCppContext],
    texts: list[list[int]],
    whole: list[Logits],
    alone: list[Logits],
) -> None:
    read(engine, contexts, texts, seed=1)
    together = decode(engine, contexts, texts)
    assert are_close(together, whole)
    assert are_close(together, alone)


def test_restored_shared_and_cut_states_say_the_same(
    engine: LlamaCppEngine,
    contexts: list[LlamaCppContext],
    texts: list[list[int]],
    alone: list[Logits],
) -> None:
    end, other, text, expected = LENGTH - OUTPUTS, contexts[1], texts[0], alone[0]
    for start in range(0, end, 16):
        engine.evaluate([Slice(contexts[0], text[start : start + 16], start, outputs=0)], 1)
    state = contexts[0].save(end)
    engine.evaluate([Slice(other, text[::-1], 0, outputs=0)], 1)  # something else stands there
    other.restore(state, end)
    assert are_close(decode(engine, [other], [text]), [expected])
    assert other.cut(end) == end
    assert are_close(decode(engine, [other], [text]), [expected])
    other.copy(contexts[0], end)
    assert are_close(decode(engine, [other], [text]), [expected])
