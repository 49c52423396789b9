"""Checks that ctransformers can run a GGUF file, before its native loader sees a byte of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from app.errors import ModelFileError, ModelUnsupported
from app.models.gguf.header import Array, Header, TensorInfo
from app.models.gguf.tokens import check_vocabulary

MAX_BLOCKS: Final = 1_000
MAX_CONTEXT: Final = 1 << 24
MAX_ROPE_SCALE: Final = 1_024.0
NEUTRAL: Final[dict[str, tuple[float, ...]]] = {
    "attention.causal": (1,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.scale": (0,),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "embedding_scale": (0, 1),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "pooling_type": (0,),
    "use_parallel_residual": (0,),
    "expert_count": (0,),
    "rope.scaling.attn_factor": (0, 1),
}
"""Keys that change what is computed, and the values with which they do not.

The engine reads none of them: it would load such a model and write nonsense.
"""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes that fix the shape of every tensor of a llama model, and its context in tokens."""

    vocabulary: int
    context_length: int
    embedding: int
    blocks: int
    feed_forward: int
    heads: int
    kv_heads: int

    @property
    def kv_width(self) -> int:
        """Numbers that one token adds to the keys of one block, and again to its values."""
        return self.embedding // self.heads * self.kv_heads


def check_compatible(header: Header) -> Dimensions:
    """Raises ModelUnsupported, with the reason, or ModelFileError if the file is not sound."""
    name = header.path.name
    architecture = header.text("general.architecture")
    if architecture is None:
        raise ModelFileError(f"{name} is damaged: it does not name its architecture.")
    if architecture != "llama":
        raise ModelUnsupported(
            f"{name} holds a model of the architecture “{architecture}”; ctransformers runs only "
            "llama models (Llama 2, Mistral 7B, TinyLlama, SmolLM2 and their relatives)."
        )
    if (header.integer("split.count") or 1) > 1:
        raise ModelUnsupported(f"{name} is only one part of a split model.")
    if not header.tensors:
        raise ModelUnsupported(f"{name} holds a vocabulary only, and no model.")
    _check_features(header)
    dimensions = _dimensions(header)
    check_vocabulary(header)
    _check_tensors(header, dimensions)
    return dimensions


def rope_scale(header: Header) -> float:
    """Return the divisor of positions (“linear” scaling): 1.0 for most models."""
    name = header.path.name
    kind = header.text("llama.rope.scaling.type")
    if kind == "none":
        return 1.0
    if kind not in (None, "linear"):
        raise ModelUnsupported(
            f"{name} stretches its context by “{kind}” scaling of positions; "
            "ctransformers knows only “linear”."
        )
    factor = header.number("llama.rope.scaling.factor") or header.number("llama.rope.scale_linear")
    if not factor:
        return 1.0
    if not (math.isfinite(factor) and 1.0 / MAX_ROPE_SCALE <= factor <= MAX_ROPE_SCALE):
        raise ModelFileError(f"{name} is damaged: it stretches its context by {factor}.")
    return float(factor)


def sliding_window(header: Header) -> int | None:
    """Return how far back the model looks (Mistral's sliding window), in tokens.

    The engine always looks back to the beginning. Within the window that is the same.
    """
    key = "llama.attention.sliding_window"
    if isinstance(header.metadata.get(key), Array):
        raise ModelUnsupported(
            f"{header.path.name} uses per-layer attention windows, "
            "which ctransformers doesn't support."
        )
    width = header.integer(key)
    return width if width is not None and width > 0 else None


def _check_features(header: Header) -> None:
    """Raises ModelUnsupported for a model that ctransformers would compute wrongly."""
    name = header.path.name
    if header.integer("llama.expert_count"):
        raise ModelUnsupported(
            f"{name} is a mixture of experts (as Mixtral is), which ctransformers doesn't support."
        )
    for key, values in NEUTRAL.items():
        value = header.metadata.get(f"llama.{key}")
        if value is not None and value not in values:
            raise ModelUnsupported(
                f"{name} is not a plain llama model (its “llama.{key}” is {_shown(value)}), "
                "and ctransformers would compute it wrongly."
            )
    if any(tensor.name.startswith("rope_f") for tensor in header.tensors):
        raise ModelUnsupported(
            f"{name} uses Llama 3.1 RoPE scaling, which ctransformers doesn't support; Llama 3 and "
            "earlier work."
        )
    rope_scale(header)


def _shown(value: object) -> str:
    return "a list" if isinstance(value, Array) else str(value)[:40]


def _dimensions(header: Header) -> Dimensions:
    def size(key: str, limit: int) -> int:
        value = header.integer(f"llama.{key}")
        if value is None or not 1 <= value <= limit:
            raise ModelFileError(f"{header.path.name} is damaged: its “llama.{key}” is {value}.")
        return value

    for key in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        if f"llama.{key}" in header.metadata and header.types[f"llama.{key}"].name == "ARRAY":
            raise ModelUnsupported(
                f"{header.path.name} has blocks of different sizes, which ctransformers cannot run."
            )
    heads = size("attention.head_count", 1 << 16)
    has_kv = "llama.attention.head_count_kv" in header.metadata
    found = Dimensions(
        vocabulary=header.count("tokenizer.ggml.tokens"),
        context_length=min(
            size("context_length", MAX_CONTEXT), sliding_window(header) or MAX_CONTEXT
        ),
        embedding=size("embedding_length", 1 << 20),
        blocks=size("block_count", MAX_BLOCKS),
        feed_forward=size("feed_forward_length", 1 << 22),
        heads=heads,
        kv_heads=size("attention.head_count_kv", 1 << 16) if has_kv else heads,
    )
    if found.embedding % heads or heads % found.kv_heads:
        raise ModelFileError(f"{header.path.name} is damaged: its attention heads do not add up.")
    _check_heads(header, found.embedding // heads)
    epsilon = header.number("llama.attention.layer_norm_rms_epsilon")
    if epsilon is None or not 0 < epsilon < 1:
        raise ModelFileError(f"{header.path.name} is damaged: its norm epsilon is {epsilon}.")
    base = header.number("llama.rope.freq_base")
    if base is not None and not (math.isfinite(base) and base > 0):
        raise ModelFileError(f"{header.path.name} is damaged: its rotary base is {base}.")
    return found


def _check_heads(header: Header, width: int) -> None:
    for key in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
        value = header.integer(f"llama.{key}")
        if value is not None and value != width:
            raise ModelUnsupported(
                f"{header.path.name} has attention heads of an unusual width "
                f"(“llama.{key}” is {value}, not {width}), which ctransformers cannot run."
            )
    if width % 2:
        raise ModelFileError(f"{header.path.name} is damaged: its heads have an odd width.")


def _check_tensors(header: Header, sizes: Dimensions) -> None:
    name = header.path.name
    present = {tensor.name: tensor for tensor in header.tensors}
    expected = expected_shapes(sizes)
    for tensor_name, shape in expected.items():
        tensor = present.get(tensor_name)
        if tensor is None:
            if tensor_name == "output.weight":
                continue  # tied to the embeddings
            raise ModelFileError(f"{name} is incomplete: the tensor {tensor_name} is missing.")
        if tensor.shape != shape:
            raise ModelFileError(
                f"{name} is damaged: {tensor_name} has the shape {tensor.shape}, not {shape}."
            )
        _check_type(name, tensor)
    if unknown := sorted(present.keys() - expected.keys()):
        raise ModelUnsupported(
            f"{name} holds tensors that ctransformers does not know, such as {unknown[0]}; "
            "it is not a plain llama model."
        )


def _check_type(name: str, tensor: TensorInfo) -> None:
    kind = tensor.type
    is_vector = len(tensor.shape) == 1
    if (is_vector and kind.name != "F32") or not (kind.is_weight and kind.is_early):
        raise ModelUnsupported(
            f"{name} stores {tensor.name} as {kind.name}, which ctransformers cannot compute."
        )


def expected_shapes(sizes: Dimensions) -> dict[str, tuple[int, ...]]:
    """List every tensor of a llama model with its shape, fastest dimension first."""
    width, kv, inner = sizes.embedding, sizes.kv_width, sizes.feed_forward
    block = {
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (width, kv),
        "attn_v": (width, kv),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (width, inner),
        "ffn_down": (inner, width),
        "ffn_up": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (width, sizes.vocabulary),
        "output_norm.weight": (width,),
        "output.weight": (width, sizes.vocabulary),
    }
    for index in range(sizes.blocks):
        for part, shape in block.items():
            shapes[f"blk.{index}.{part}.weight"] = shape
    return shapes
