"""Adapted models compute what they should: the engine's numbers against NumPy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.inference.runner.engines.ctransformers import CtransformersEngine
from app.models.gguf.header import TENSOR_TYPES
from app.models.store import ModelStore
from tests import tiny_gguf
from tests.models.gguf import reference_llama
from tests.tiny_gguf import Floats

IDS = list(range(10, 110))
VOCABULARY = tiny_gguf.bpe_vocabulary()
TOKENS = VOCABULARY["tokenizer.ggml.tokens"]


def computed(weights: Path) -> Floats:
    engine = CtransformersEngine(weights, 128)
    context = engine.new_context()
    try:
        return np.array(context.evaluate(IDS, 0, 1))
    finally:
        context.close()
        engine.close()


@pytest.mark.parametrize(
    ("keys", "base", "stretch"),
    [
        ({}, 10_000.0, 1.0),
        ({"llama.rope.freq_base": 1e6}, 1e6, 1.0),
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}, 10_000.0, 4.0),
        ({"llama.rope.scaling.factor": 2.0, "llama.rope.freq_base": 1e5}, 1e5, 2.0),
        ({"llama.rope.scale_linear": 4.0}, 10_000.0, 4.0),
        ({"llama.rope.scaling.type": "none", "llama.rope.scale_linear": 4.0}, 10_000.0, 1.0),
    ],
)
def test_positions_turn_as_the_file_says(
    store: ModelStore, tmp_path: Path, keys: dict[str, object], base: float, stretch: float
) -> None:
    assert isinstance(TOKENS, list)
    tensors = tiny_gguf.weights(TOKENS, 0, tied=True)
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf.encode(tiny_gguf.sizes(512) | VOCABULARY | keys, tensors))
    found = computed(store.install(path, "m").weights_path)
    # The engine keeps keys and values as 16-bit numbers.
    expected = reference_llama.logits(tensors, IDS, base, stretch)
    assert float(np.abs(found - expected).max()) < 0.1
    assert found.argmax() == expected.argmax()


def test_an_embedding_is_what_the_logits_are_made_of(store: ModelStore, tmp_path: Path) -> None:
    assert isinstance(TOKENS, list)
    tensors = tiny_gguf.weights(TOKENS, 0, tied=True)
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf.encode(tiny_gguf.sizes(512) | VOCABULARY, tensors))
    engine = CtransformersEngine(store.install(path, "m").weights_path, 128)
    context = engine.new_context()
    for part in (IDS[:60], IDS[60:]):  # whatever is evaluated last
        logits = np.array(context.evaluate(part, 0, 1))
        expected = tensors["token_embd.weight"] @ context.embedding()
        np.testing.assert_allclose(logits, expected, atol=1e-3)
    context.restore(context.save(10), 10)  # a chat's state holds nothing of it
    assert not context.embedding().any()
    context.close()
    engine.close()


@pytest.mark.parametrize("kind", [k for k, t in TENSOR_TYPES.items() if t.is_weight and t.is_early])
def test_every_storage_type_is_computed(store: ModelStore, tmp_path: Path, kind: int) -> None:
    path = tiny_gguf.write_quantised(tmp_path / "m.gguf", kind)
    model = store.install(path, "m")
    assert model.quantisation == TENSOR_TYPES[kind].name
    found = computed(model.weights_path)
    assert np.isfinite(found).all()
    assert found.std() > 0
