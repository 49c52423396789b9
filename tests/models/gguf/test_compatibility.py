from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import ModelFileError, ModelUnsupported
from app.models.gguf.compatibility import check_compatible, rope_scale
from app.models.gguf.reader import read_header
from app.models.model_builder import quantisation
from tests import tiny_gguf
from tests.tiny_gguf import write_tiny_gguf


def test_a_sound_file_passes(tiny: Path) -> None:
    header = read_header(tiny)
    sizes = check_compatible(header)
    assert (sizes.embedding, sizes.blocks, sizes.kv_width) == (64, 2, 32)
    assert quantisation(header) == "F32"


UNSUPPORTED = {
    "architecture “qwen2”": {"general.architecture": "qwen2"},
    "architecture “falcon”": {"general.architecture": "falcon"},
    "kind “bert”": {"tokenizer.ggml.model": "bert"},
    "one part of a split model": {"split.count": 3},
    "by “yarn” scaling": {"llama.rope.scaling.type": "yarn"},
    "by “longrope” scaling": {"llama.rope.scaling.type": "longrope"},
    "mixture": {"llama.expert_count": 8},
    "logit_scale” is 0.5": {"llama.logit_scale": 0.5},
    "attention.causal” is False": {"llama.attention.causal": False},
    "per-layer attention windows": {"llama.attention.sliding_window": [128, 256]},
    "unusual width": {"llama.attention.key_length": 128},
    "different sizes": {"llama.attention.head_count_kv": [2, 4]},
    "line break": {"tokenizer.ggml.tokens": ["x"], "tokenizer.ggml.token_type": [1]},
}
DAMAGED = {
    "name its architecture": {"general.architecture": None},
    "block_count": {"llama.block_count": None},
    "context_length": {"llama.context_length": 0},
    "attention heads do not add up": {"llama.attention.head_count": 5},
    "kv_heads": {"llama.attention.head_count_kv": 3},
    "epsilon": {"llama.attention.layer_norm_rms_epsilon": float("nan")},
    "stretches its context by inf": {"llama.rope.scaling.factor": float("inf")},
    "stretches its context by -2.0": {"llama.rope.scale_linear": -2.0},
    "rotary base": {"llama.rope.freq_base": float("inf")},
    "types": {"tokenizer.ggml.token_type": [1, 1]},
    "types of its tokens": {"tokenizer.ggml.token_type": None},
    "scores": {"tokenizer.ggml.scores": [0.5]},
    "merges": {"tokenizer.ggml.merges": None},
    "not in its vocabulary": {"tokenizer.ggml.eos_token_id": 99_999},
    "incomplete": {"llama.block_count": 3},
    "shape": {"llama.feed_forward_length": 64},
}


@pytest.mark.parametrize("match", UNSUPPORTED)
def test_unsupported_models_are_refused(tmp_path: Path, match: str) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", **UNSUPPORTED[match])  # type: ignore[arg-type]
    with pytest.raises(ModelUnsupported, match=match):
        check_compatible(read_header(path))


@pytest.mark.parametrize("match", DAMAGED)
def test_damaged_models_are_refused(tmp_path: Path, match: str) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", **DAMAGED[match])  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match=r"damaged|incomplete"):
        check_compatible(read_header(path))


def test_tensors_of_other_designs(tmp_path: Path) -> None:
    vocabulary = tiny_gguf.bpe_vocabulary()
    tokens = vocabulary["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    tensors = tiny_gguf.weights(tokens, 0, tied=True)
    for name, match in (
        ("blk.0.attn_q.bias", "does not know"),
        ("rope_freqs.weight", "RoPE scaling"),
    ):
        extra = tensors | {name: np.ones(64, np.float32)}
        path = tmp_path / "m.gguf"
        path.write_bytes(tiny_gguf.encode(tiny_gguf.sizes(512) | vocabulary, extra))
        with pytest.raises(ModelUnsupported, match=match):
            check_compatible(read_header(path))


def test_header_values_that_change_nothing_are_let_through(tmp_path: Path) -> None:
    neutral: dict[str, object] = {
        "llama.rope.scaling.type": "none",
        "llama.rope.scaling.factor": 8.0,
        "llama.attention.causal": True,
        "llama.expert_count": 0,
        "llama.logit_scale": 1.0,
        "llama.attention.sliding_window": 0,
    }
    header = read_header(write_tiny_gguf(tmp_path / "m.gguf", **neutral))  # type: ignore[arg-type]
    assert check_compatible(header).context_length == 512
    assert rope_scale(header) == 1.0


def test_a_sliding_window_bounds_the_context(tmp_path: Path) -> None:
    overrides: dict[str, object] = {"llama.attention.sliding_window": 128}
    header = read_header(write_tiny_gguf(tmp_path / "m.gguf", **overrides))  # type: ignore[arg-type]
    assert check_compatible(header).context_length == 128


def test_a_vocabulary_alone_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "vocab.gguf"
    path.write_bytes(tiny_gguf.encode(tiny_gguf.sizes(512) | tiny_gguf.bpe_vocabulary(), {}))
    with pytest.raises(ModelUnsupported, match="a vocabulary only"):
        check_compatible(read_header(path))
