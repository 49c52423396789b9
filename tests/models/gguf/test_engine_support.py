"""Which engines run a file, by its header, and what its contexts take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from app.errors import ModelFileError, ModelUnsupported
from app.models.engines import ENGINES, LLAMA_CPP
from app.models.gguf.engine_support import FileSupport, check_support
from app.models.gguf.header import TENSOR_TYPES
from app.models.gguf.kv_layout import KvLayout
from app.models.gguf.reader import read_header
from tests import tiny_gguf
from tests.tiny_gguf import Stored, write_tiny_gguf

Keys = dict[str, Any]
SIZES = {
    "context_length": 32768,
    "embedding_length": 1024,
    "block_count": 24,
    "feed_forward_length": 3072,
    "attention.head_count": 16,
    "attention.head_count_kv": 8,
}


def header_of(
    path: Path,
    architecture: str,
    storage_id: int = 12,
    more: Mapping[str, object] = MappingProxyType({}),
    **keys: Any,
) -> Path:
    """Write a file of one tensor: nothing but its header is looked at."""
    own = {f"{architecture}.{key}": value for key, value in (SIZES | keys).items()}
    metadata = (
        tiny_gguf.bpe_vocabulary() | own | {"general.architecture": architecture} | dict(more)
    )
    metadata = {key: value for key, value in metadata.items() if value is not None}
    storage = TENSOR_TYPES[storage_id]
    data = bytes(1024 // storage.block * storage.size)
    tensors = {"blk.0.attn_q.weight": Stored((4, 256), storage_id, data)}
    path.write_bytes(tiny_gguf.encode(metadata, tensors))
    return path


def support(path: Path, *available: Any) -> FileSupport:
    return check_support(read_header(path), available or ENGINES)


@pytest.mark.parametrize(
    "architecture",
    ["qwen3", "qwen3moe", "gemma3", "phi3", "gpt-oss", "granitehybrid", "lfm2", "smollm3"],
)
def test_families_of_today_run_on_llama_cpp(tmp_path: Path, architecture: str) -> None:
    found = support(header_of(tmp_path / "m.gguf", architecture))
    assert (found.engines, found.kind) == (("llama.cpp",), "text")
    assert found.context_length == 32768


@pytest.mark.parametrize("name", ["BF16", "MXFP4", "IQ4_XS", "IQ2_S", "TQ2_0", "Q4_K"])
def test_storage_types_of_today_run_on_llama_cpp(tmp_path: Path, name: str) -> None:
    (kind,) = (number for number, each in TENSOR_TYPES.items() if each.name == name)
    assert support(header_of(tmp_path / "m.gguf", "qwen3", kind)).engines == ("llama.cpp",)


def test_a_plain_llama_runs_on_both(tiny: Path) -> None:
    assert support(tiny).engines == ("ctransformers", "llama.cpp")
    assert support(tiny).kv == KvLayout(full_bytes=2 * 2 * 32 * 2)  # heads of 16 numbers


LLAMA_CPP_ONLY: dict[str, dict[str, object]] = {
    "mixture of experts": {"llama.expert_count": 8},
    "“yarn” scaling": {"llama.rope.scaling.type": "yarn"},
    "“longrope” scaling": {"llama.rope.scaling.type": "longrope"},
    "unusual width": {"llama.attention.key_length": 128},
    "kind “bert”": {"tokenizer.ggml.model": "bert"},
}


@pytest.mark.parametrize("why", LLAMA_CPP_ONLY)
def test_a_llama_of_later_years_runs_on_llama_cpp(tmp_path: Path, why: str) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", **LLAMA_CPP_ONLY[why])  # type: ignore[arg-type]
    assert support(path).engines == ("llama.cpp",)
    with pytest.raises(ModelUnsupported, match=f"{why}.* llama.cpp runs it: .*pip install xllama"):
        support(path, "ctransformers")


def test_rope_factors_run_on_llama_cpp(tmp_path: Path) -> None:
    vocabulary = tiny_gguf.bpe_vocabulary()
    tokens = vocabulary["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    tensors = tiny_gguf.weights(tokens, 0, tied=True) | {
        "rope_freqs.weight": np.ones(8, np.float32)
    }
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf.encode(tiny_gguf.sizes(512) | vocabulary, tensors))
    assert support(path).engines == ("llama.cpp",)


def test_a_refusal_names_the_architecture_and_what_would_run_it(tmp_path: Path) -> None:
    qwen = header_of(tmp_path / "q.gguf", "qwen3")
    with pytest.raises(ModelUnsupported, match=r"architecture “qwen3”.* llama.cpp runs it"):
        support(qwen, "ctransformers")
    future = header_of(tmp_path / "f.gguf", "qwen9")
    with pytest.raises(ModelUnsupported, match=r"“qwen9”, which neither .* remote model"):
        support(future)
    with pytest.raises(ModelUnsupported, match=r"for Ollama alone; pull hf:ggml-org/gpt-oss"):
        support(header_of(tmp_path / "o.gguf", "gptoss"))
    projector = header_of(tmp_path / "p.gguf", "clip")
    with pytest.raises(ModelUnsupported, match="only the image or audio part"):
        support(projector)
    with pytest.raises(ModelUnsupported, match="“t5”"):
        support(header_of(tmp_path / "t.gguf", "t5"))
    with pytest.raises(ModelUnsupported, match="has no library on this machine"):
        check_support(read_header(write_tiny_gguf(tmp_path / "l.gguf")), ())


def test_embedding_models_are_known_by_architecture_or_pooling(tmp_path: Path) -> None:
    bert = header_of(tmp_path / "b.gguf", "nomic-bert")
    assert support(bert).kind == "embedding"
    assert support(header_of(tmp_path / "q.gguf", "qwen3", pooling_type=3)).kind == "embedding"
    assert support(header_of(tmp_path / "r.gguf", "qwen3", pooling_type=4)).kind == "reranker"
    assert support(header_of(tmp_path / "p.gguf", "qwen3", pooling_type=0)).kind == "text"
    template = {"tokenizer.chat_template.rerank": "{query} {document}"}
    assert support(header_of(tmp_path / "t.gguf", "qwen3", more=template)).kind == "reranker"


def test_models_for_search_run_on_llama_cpp_alone(tmp_path: Path) -> None:
    """An encoder keeps nothing of what it reads, a decoder does while it reads."""
    pooled: dict[str, Any] = {"llama.pooling_type": 3}
    llama = support(write_tiny_gguf(tmp_path / "l.gguf", **pooled))
    bert = support(header_of(tmp_path / "b.gguf", "bert"))
    assert (llama.engines, llama.kind) == (("llama.cpp",), "embedding")
    assert llama.kv.bytes_per_token > 0
    assert bert.kv.bytes_per_token == 0


@pytest.mark.parametrize(
    "keys",
    [
        {"context_length": 0},
        {"context_length": None},
        {"block_count": None},
        {"block_count": 1 << 30},
        {"embedding_length": 0},
        {"attention.head_count_kv": [8, 8]},
        {"attention.head_count_kv": "eight"},
        {"attention.key_length": 1 << 31},
        {"nextn_predict_layers": 25},
        {"attention.shared_kv_layers": 25},
    ],
)
def test_sizes_that_no_model_has_are_damage(tmp_path: Path, keys: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="damaged"):
        support(header_of(tmp_path / "m.gguf", "qwen3", **keys), LLAMA_CPP)


GEMMA_3_1B = {"block_count": 26, "attention.head_count": 4, "attention.head_count_kv": 1}
GEMMA_3_1B |= {"embedding_length": 1152, "attention.key_length": 256}
GEMMA_3_1B |= {"attention.value_length": 256, "attention.sliding_window": 512}
GPT_OSS_20B = {"block_count": 24, "attention.head_count": 64, "attention.head_count_kv": 8}
GPT_OSS_20B |= {"embedding_length": 2880, "attention.key_length": 64}
GPT_OSS_20B |= {"attention.value_length": 64, "attention.sliding_window": 128}
GLM_47_FLASH = {"block_count": 47, "attention.head_count": 20, "attention.head_count_kv": 1}
GLM_47_FLASH |= {"attention.key_length": 576, "attention.value_length": 512}
GLM_47_FLASH |= {"attention.key_length_mla": 256, "attention.value_length_mla": 256}
GEMMA_4_E2B: dict[str, Any] = {
    "block_count": 35,
    "attention.head_count": 8,
    "attention.head_count_kv": 1,
}
GEMMA_4_E2B |= {"attention.key_length": 512, "attention.value_length": 512}
GEMMA_4_E2B |= {"attention.key_length_swa": 256, "attention.value_length_swa": 256}
GEMMA_4_E2B |= {"attention.sliding_window": 512, "attention.shared_kv_layers": 20}
GEMMA_4_E2B |= {"attention.sliding_window_pattern": ([1, 1, 1, 1, 0] * 7)}
QWEN_35_2B: dict[str, Any] = {
    "block_count": 25,
    "nextn_predict_layers": 1,
    "attention.head_count_kv": 2,
}
QWEN_35_2B |= {"attention.key_length": 256, "attention.value_length": 256}
QWEN_35_2B |= {"ssm.conv_kernel": 4, "ssm.inner_size": 2048, "ssm.state_size": 128}
QWEN_35_2B |= {"ssm.group_count": 16, "ssm.time_step_rank": 16}
GRANITE_H: dict[str, Any] = {
    "block_count": 4,
    "attention.head_count_kv": [0, 0, 4, 0],
    "ssm.conv_kernel": 4,
}
GRANITE_H |= {"ssm.inner_size": 3072, "ssm.state_size": 128, "ssm.group_count": 1}
LFM_2: dict[str, Any] = {
    "block_count": 4,
    "attention.head_count_kv": [0, 0, 8, 0],
    "shortconv.l_cache": 3,
}
NEMOTRON_H: dict[str, Any] = {
    "block_count": 3,
    "attention.head_count_kv": [0, 8, 0],
    "ssm.conv_kernel": 4,
}
NEMOTRON_H |= {"feed_forward_length": [0, 0, 9], "ssm.inner_size": 10, "ssm.state_size": 2}
RWKV_7 = {"wkv.head_size": 64, "token_shift_count": 2, "attention.head_count": 0}
MAMBA: dict[str, Any] = {
    "attention.head_count": 0,
    "attention.head_count_kv": None,
    "ssm.conv_kernel": 4,
}
MAMBA |= {"ssm.inner_size": 2048, "ssm.state_size": 16}
KNOWN: dict[str, tuple[str, dict[str, Any], KvLayout]] = {
    "Qwen3 0.6B": (
        "qwen3",
        {"block_count": 28, "attention.key_length": 128, "attention.value_length": 128},
        KvLayout(28 * 8 * 256 * 2),
    ),
    "Gemma 3 1B": ("gemma3", GEMMA_3_1B, KvLayout(4 * 512 * 2, 22 * 512 * 2, 512)),
    "Gemma 3n": (
        "gemma3n",
        {"block_count": 30, "attention.sliding_window": 512},
        KvLayout(4 * 8 * 128 * 2, 16 * 8 * 128 * 2, 512),
    ),
    "gpt-oss 20B": ("gpt-oss", GPT_OSS_20B, KvLayout(12 * 8 * 128 * 2, 12 * 8 * 128 * 2, 128)),
    "GLM 4.7 Flash": ("deepseek2", GLM_47_FLASH, KvLayout(47 * 576 * 2)),
    "Gemma 4 E2B": ("gemma4", GEMMA_4_E2B, KvLayout(3 * 1024 * 2, 12 * 512 * 2, 512)),
    "Qwen3.5 2B": (
        "qwen35",
        QWEN_35_2B,
        KvLayout(6 * 2 * 512 * 2, 0, 0, 18 * (3 * 6144 + 2048 * 128) * 4),
    ),
    "Granite 4.0 H": (
        "granitehybrid",
        GRANITE_H,
        KvLayout(4 * 128 * 2, 0, 0, 3 * (3 * (3072 + 256) + 3072 * 128) * 4),
    ),
    "LFM2": ("lfm2", LFM_2, KvLayout(8 * 128 * 2, 0, 0, 3 * 1024 * 2 * 4)),
    "Nemotron H": ("nemotron_h", NEMOTRON_H, KvLayout(8 * 128 * 2, 0, 0, (30 + 20) * 4)),
    "RWKV 7": ("rwkv7", RWKV_7, KvLayout(0, 0, 0, 24 * 1024 * 66 * 4)),
    "Mamba": ("mamba", MAMBA, KvLayout(0, 0, 0, 24 * (3 * 2048 + 2048 * 16) * 4)),
}


@pytest.mark.parametrize("model", KNOWN)
def test_the_memory_that_a_context_takes(tmp_path: Path, model: str) -> None:
    architecture, keys, expected = KNOWN[model]
    found = support(header_of(tmp_path / "m.gguf", architecture, **keys)).kv
    assert replace(found, takes_q8_0=False) == expected


@pytest.mark.parametrize(
    ("keys", "takes_q8_0"),
    [
        ({}, True),
        ({"attention.key_length": 80}, False),
        ({"attention.value_length": 48}, False),
        ({"attention.key_length_swa": 40}, False),
    ],
)
def test_only_heads_of_whole_blocks_take_q8_0(
    tmp_path: Path, keys: dict[str, object], takes_q8_0: bool
) -> None:
    header = header_of(tmp_path / "m.gguf", "gemma3", 12, {}, **(GEMMA_3_1B | keys))
    assert support(header).kv.takes_q8_0 is takes_q8_0
