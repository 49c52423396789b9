"""Makes tiny projectors with seeded random weights, and models of texts that they belong to.

Several kinds, as they differ in what a picture becomes: tiles with tokens between them (idefics3,
as SmolVLM has it), a row that must be seen at once (gemma3), rows with several axes (qwen2vl).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.tiny_architectures import (
    WIDTH,
    Tensors,
    Values,
    Weights,
    gemma3,
    llama_with_rope_factors,
    qwen3,
)
from tests.tiny_gguf import Floats, Stored, encode


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """Sizes of an encoder. side, patch: pixels; merge: patches of a side that become one row."""

    side: int = 32
    patch: int = 4
    width: int = 64
    inner: int = 96
    heads: int = 2
    layers: int = 2
    merge: int = 2


TINY: Final = EncoderSize()


def vision(kind: str, width: int, size: EncoderSize) -> Values:
    return {
        "general.architecture": "clip",
        "general.name": "Tiny projector",
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": kind,
        "clip.use_gelu": True,
        "clip.vision.image_size": size.side,
        "clip.vision.patch_size": size.patch,
        "clip.vision.embedding_length": size.width,
        "clip.vision.feed_forward_length": size.inner,
        "clip.vision.block_count": size.layers,
        "clip.vision.projection_dim": width,
        "clip.vision.attention.head_count": size.heads,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.projector.scale_factor": size.merge,
    }


def encoder(weights: Weights, size: EncoderSize) -> Tensors:
    made: Tensors = {}
    for index in range(size.layers):
        block = {f"attn_{part}": (size.width, size.width) for part in ("q", "k", "v", "out")}
        block |= {"ffn_up": (size.inner, size.width), "ffn_down": (size.width, size.inner)}
        for name, shape in block.items():
            made[f"v.blk.{index}.{name}.weight"] = weights.matrix(*shape)
            made[f"v.blk.{index}.{name}.bias"] = weights.zeros(shape[0])
        for name in ("ln1", "ln2"):
            made |= norm(weights, f"v.blk.{index}.{name}", size.width)
    return made | norm(weights, "v.post_ln", size.width)


def norm(weights: Weights, name: str, width: int) -> Tensors:
    return {f"{name}.weight": weights.ones(width), f"{name}.bias": weights.zeros(width)}


def patches(weights: Weights, size: EncoderSize) -> Floats:
    return weights.matrix(size.width, 3 * size.patch**2).reshape(
        size.width, 3, size.patch, size.patch
    )


def positions(weights: Weights, size: EncoderSize) -> Tensors:
    return {"v.position_embd.weight": weights.matrix((size.side // size.patch) ** 2, size.width)}


def idefics3(weights: Weights, width: int, size: EncoderSize = TINY) -> tuple[Values, Tensors]:
    values = vision("idefics3", width, size) | {"clip.vision.preproc_image_size": 2 * size.side}
    tensors = encoder(weights, size) | positions(weights, size)
    tensors["v.patch_embd.weight"] = patches(weights, size)
    tensors["mm.model.fc.weight"] = weights.matrix(width, size.merge**2 * size.width)
    return values, tensors


def gemma3_projector(
    weights: Weights, width: int, size: EncoderSize = TINY
) -> tuple[Values, Tensors]:
    tensors = encoder(weights, size) | positions(weights, size)
    tensors["v.patch_embd.weight"] = patches(weights, size)
    tensors["mm.soft_emb_norm.weight"] = weights.ones(size.width)
    tensors["mm.input_projection.weight"] = weights.matrix(size.width, width)
    return vision("gemma3", width, size), tensors


def qwen2vl(weights: Weights, width: int, size: EncoderSize = TINY) -> tuple[Values, Tensors]:
    tensors = encoder(weights, size)
    merged = size.merge**2 * size.width
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        tensors[name] = patches(weights, size)
    for name, shape in (("mm.0", (merged, merged)), ("mm.2", (width, merged))):
        tensors[f"{name}.weight"] = weights.matrix(*shape)
        tensors[f"{name}.bias"] = weights.zeros(shape[0])
    return vision("qwen2vl_merger", width, size), tensors


MELS, HEARD_FRAMES = 80, 1500
"""Bands of a spectrogram, frames of 30 s behind the encoder's convolutions."""


def qwen2a(
    weights: Weights, width: int, size: EncoderSize = TINY
) -> tuple[Values, dict[str, Floats | Stored]]:
    """Encoder of sound, as Whisper has it."""
    values: Values = {
        "general.architecture": "clip",
        "general.name": "Tiny ears",
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_audio_encoder": True,
        "clip.projector_type": "qwen2a",
        "clip.use_gelu": True,
        "clip.audio.embedding_length": size.width,
        "clip.audio.feed_forward_length": size.inner,
        "clip.audio.block_count": size.layers,
        "clip.audio.projection_dim": width,
        "clip.audio.attention.head_count": size.heads,
        "clip.audio.attention.layer_norm_epsilon": 1e-6,
        "clip.audio.num_mel_bins": MELS,
    }
    tensors: dict[str, Floats | Stored] = {
        name.replace("v.", "a.", 1): tensor
        for name, tensor in encoder(weights, size).items()
        if not name.endswith("attn_k.bias")
    }
    for number, (bands, out) in enumerate(((MELS, size.width), (size.width, size.width)), start=1):
        kernel = weights.matrix(out * bands, 3).reshape(out, bands, 3).astype(np.float16)
        tensors[f"a.conv1d.{number}.weight"] = Stored(kernel.shape, 1, kernel.tobytes())
        tensors[f"a.conv1d.{number}.bias"] = weights.zeros(out).reshape(out, 1)
    tensors["a.position_embd.weight"] = weights.matrix(HEARD_FRAMES, size.width)
    tensors["mm.a.fc.weight"] = weights.matrix(width, size.width)
    tensors["mm.a.fc.bias"] = weights.zeros(width)
    return values, tensors


def ultravox(
    weights: Weights, width: int, size: EncoderSize = TINY
) -> tuple[Values, dict[str, Floats | Stored]]:
    """Encoder of sound that joins eight frames, of which 1,500 are no multiple: llama.cpp ends its
    process at that."""
    values, tensors = qwen2a(weights, width, size)
    values |= {"clip.projector_type": "ultravox", "clip.audio.projector.stack_factor": 8}
    tensors = {name: one for name, one in tensors.items() if not name.startswith("mm.")}
    tensors["mm.a.mlp.1.weight"] = weights.matrix(64, 8 * size.width)
    tensors["mm.a.mlp.2.weight"] = weights.matrix(width, 32)
    tensors["mm.a.norm_pre.weight"] = weights.ones(8 * size.width)
    tensors["mm.a.norm_mid.weight"] = weights.ones(32)
    return values, tensors


PROJECTORS: Final[dict[str, Callable[[Weights, int, EncoderSize], tuple[Values, Tensors]]]] = {
    "idefics3": idefics3,
    "gemma3": gemma3_projector,
    "qwen2vl": qwen2vl,
}
KINDS: Final = tuple(PROJECTORS)
"""Of projectors for pictures."""
HEARING: Final = "qwen2a"
MARKS: Final[dict[str, tuple[str, ...]]] = {
    HEARING: (),
    "idefics3": (
        "<fake_token_around_image>",
        "<global-img>",
        "\u010a\u010a",
        *(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)),
    ),
    "gemma3": ("<start_of_image>", "<end_of_image>"),
    "qwen2vl": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>"),
}
"""The tokens that stand around a picture, as the vocabulary spells them."""


def write_projector(
    path: Path, kind: str, *, seed: int = 1, width: int = WIDTH, size: EncoderSize = TINY
) -> Path:
    """Write a projector of one of `KINDS` to `path`, for models whose rows are so wide."""
    if kind == HEARING:
        path.write_bytes(encode(*qwen2a(Weights(seed), width, size)))
        return path
    values, tensors = PROJECTORS[kind](Weights(seed), width, size)
    path.write_bytes(encode(values, tensors))
    return path


def write_seeing_model(
    path: Path, kind: str, *, seed: int = 0, context: int = 2048, chat_template: str = ""
) -> Path:
    """Write the model of texts that a projector of that kind belongs to."""
    values, tensors = TEXT_MODELS[kind](Weights(seed))
    if chat_template:
        values["tokenizer.chat_template"] = chat_template
    tokens, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list)
    assert isinstance(kinds, list)
    values["tokenizer.ggml.tokens"] = [*tokens, *MARKS[kind]]
    values["tokenizer.ggml.token_type"] = [
        *kinds,
        *(1 if mark.startswith("\u010a") else 3 for mark in MARKS[kind]),
    ]
    values[f"{values['general.architecture']}.context_length"] = context
    rows = Weights(seed + 100).matrix(len(MARKS[kind]), WIDTH) * np.float32(0.02)
    for name in ("token_embd.weight", "output.weight"):
        if name in tensors:
            tensors[name] = np.concatenate([tensors[name], rows])
    path.write_bytes(encode(values, tensors))
    return path


def qwen2vl_text(weights: Weights) -> tuple[Values, Tensors]:
    """Decoder with positions on several axes."""
    values, tensors = qwen3(weights)
    values = {key.replace("qwen3.", "qwen2vl."): value for key, value in values.items()}
    values["general.architecture"] = "qwen2vl"
    values["qwen2vl.rope.dimension_sections"] = [4, 6, 6, 0]
    kept = {name: t for name, t in tensors.items() if "q_norm" not in name and "k_norm" not in name}
    for index in range(2):
        for part in "qkv":
            name = f"blk.{index}.attn_{part}"
            kept[f"{name}.bias"] = weights.zeros(kept[f"{name}.weight"].shape[0])
    return values, kept


TEXT_MODELS: Final[dict[str, Callable[[Weights], tuple[Values, Tensors]]]] = {
    HEARING: qwen3,
    "idefics3": llama_with_rope_factors,
    "gemma3": gemma3,
    "qwen2vl": qwen2vl_text,
}
