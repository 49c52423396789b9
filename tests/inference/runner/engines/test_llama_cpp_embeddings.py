"""Models made for embeddings and reranking, through the real library."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from app.inference.runner.engines.engine import Logits, Slice
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from tests.inference.runner.engines.reference_bert import ReferenceBert
from tests.tiny_architectures import (
    ARCHITECTURES,
    EMBEDDERS,
    RERANKERS,
    Weights,
    write_architecture,
)

CONTEXT = 256
MEAN, CLS, LAST = 1, 2, 3
POOLED = (*EMBEDDERS, *RERANKERS[:2])


@cache
def opened(name: str, pooling: int | None = None) -> LlamaCppEngine:
    architecture = "qwen3" if name.startswith("qwen3") else name.removesuffix("-reranker")
    chosen: dict[str, object] = {} if pooling is None else {f"{architecture}.pooling_type": pooling}
    path = Path(mkdtemp(prefix="wick-tiny-")) / "model.gguf"
    return LlamaCppEngine(write_architecture(path, name, seed=0, **chosen), CONTEXT, contexts=6)


def texts(engine: LlamaCppEngine, *counts: int) -> list[list[int]]:
    ids = range(4, 29) if engine.vocab_size < 100 else range(3, 400)
    return [random.Random(count).choices(ids, k=count) for count in counts]


def embed(engine: LlamaCppEngine, *several: Sequence[int]) -> list[Logits]:
    """All of them in one step."""
    contexts = [engine.new_context() for _ in several]
    try:
        engine.evaluate(
            [Slice(c, ids, 0, 0, embedding=True) for c, ids in zip(contexts, several, strict=True)],
            2,
        )
        return [context.embedding() for context in contexts]
    finally:
        for context in contexts:
            context.close()


def cosine(one: Logits, other: Logits) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize("name", POOLED)
def test_texts_in_one_step_get_what_each_gets_alone(name: str) -> None:
    engine = opened(name)
    several = texts(engine, 5, 120, 33, 1)
    together = embed(engine, *several)
    for ids, found in zip(several, together, strict=True):
        (alone,) = embed(engine, ids)
        np.testing.assert_allclose(found, alone, atol=0.02)


@pytest.mark.parametrize("pooling", [MEAN, CLS, LAST])
def test_pooling_is_that_of_the_file(pooling: int) -> None:
    engine = opened("bert", pooling)
    reference = ReferenceBert(ARCHITECTURES["bert"](Weights(0))[1])
    for ids in texts(engine, 3, 40):
        hidden = reference.hidden(ids)
        expected = {MEAN: hidden.mean(axis=0), CLS: hidden[0], LAST: hidden[-1]}[pooling]
        (found,) = embed(engine, ids)
        assert cosine(found, expected) > 0.9999


def test_an_encoder_without_a_pooling_takes_the_mean() -> None:
    engine = opened("bert", 0)
    (ids,) = texts(engine, 20)
    reference = ReferenceBert(ARCHITECTURES["bert"](Weights(0))[1])
    (found,) = embed(engine, ids)
    assert cosine(found, reference.hidden(ids).mean(axis=0)) > 0.9999


def test_a_reranker_gives_the_score_of_its_head() -> None:
    engine = opened("bert-reranker")
    reference = ReferenceBert(ARCHITECTURES["bert-reranker"](Weights(0))[1])
    for ids in texts(engine, 3, 40):
        (found,) = embed(engine, ids)
        assert found.shape == (1,)
        assert found[0] == pytest.approx(reference.score(ids), abs=0.01)


@pytest.mark.parametrize("name", ["qwen3-embedding", "qwen3-reranker"])
def test_a_decoder_may_read_a_text_in_slices(name: str) -> None:
    engine = opened(name)
    assert not engine.reads_whole
    one, two = texts(engine, 90, 50)
    expected = embed(engine, one)[0]
    context, other = engine.new_context(), engine.new_context()
    engine.evaluate([Slice(context, one[:30], 0, 0)], 1)
    engine.evaluate([Slice(context, one[30:60], 30, 0), Slice(other, two, 0, 0, True)], 1)
    engine.evaluate([Slice(context, one[60:], 60, 0, embedding=True)], 1)
    np.testing.assert_allclose(context.embedding(), expected, atol=0.02)
    np.testing.assert_allclose(other.embedding(), embed(engine, two)[0], atol=0.02)
    context.close()
    other.close()


def test_the_embedding_models_that_must_read_a_text_whole() -> None:
    assert [opened(name).reads_whole for name in POOLED] == [True, True, False, True, False]
    assert opened("qwen3-embedding", MEAN).reads_whole


def test_marks_around_texts_are_those_of_the_vocabulary() -> None:
    marks = [opened(name).native.marks() for name in ("bert", "qwen3-embedding", "qwen3-reranker")]
    assert [(m.before, m.behind, m.between) for m in marks] == [
        ((2,), (3,), (3,)),
        ((), (2,), (2,)),
        ((), (), ()),
    ]


def test_a_model_for_embeddings_has_no_logits() -> None:
    engine = opened("qwen3-embedding")
    context = engine.new_context()
    with pytest.raises(ValueError):
        engine.evaluate([Slice(context, [3, 4], 0, outputs=1)], 1)
    context.close()
