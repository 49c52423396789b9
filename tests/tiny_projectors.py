"""Makes tiny projectors with seeded random weights, and models of texts that they belong to.

Several kinds, as they differ in what a picture becomes: tiles with tokens between them (idefics3,
as SmolVLM has it), a row that must be seen at once (gemma3), rows with several axes (qwen2vl).
"""

from __future__ import annotations

from collections.abc import Callable
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
from tests.tiny_gguf import Floats, encode

SIDE, PATCH, SEEN, SEEN_INNER, SEEN_HEADS, LAYERS = 32, 4, 64, 96, 2, 2
"""Pixels of a tile's side, and of a patch's; sizes of the encoder."""
MERGE: Final = 2
"""Patches of a side that become one row."""


def vision(kind: str, width: int) -> Values:
    return {
        "general.architecture": "clip",
        "general.name": "Tiny projector",
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": kind,
        "clip.use_gelu": True,
        "clip.vision.image_size": SIDE,
        "clip.vision.patch_size": PATCH,
        "clip.vision.embedding_length": SEEN,
        "clip.vision.feed_forward_length": SEEN_INNER,
        "clip.vision.block_count": LAYERS,
        "clip.vision.projection_dim": width,
        "clip.vision.attention.head_count": SEEN_HEADS,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.projector.scale_factor": MERGE,
    }


def encoder(weights: Weights, *, biased: bool = True) -> Tensors:
    made: Tensors = {}
    for index in range(LAYERS):
        block = {f"attn_{part}": (SEEN, SEEN) for part in ("q", "k", "v", "out")}
        block |= {"ffn_up": (SEEN_INNER, SEEN), "ffn_down": (SEEN, SEEN_INNER)}
        for name, shape in block.items():
            made[f"v.blk.{index}.{name}.weight"] = weights.matrix(*shape)
            made[f"v.blk.{index}.{name}.bias"] = weights.zeros(shape[0])
        for name in ("ln1", "ln2"):
            made |= norm(weights, f"v.blk.{index}.{name}")
    return made | norm(weights, "v.post_ln")


def norm(weights: Weights, name: str) -> Tensors:
    return {f"{name}.weight": weights.ones(SEEN), f"{name}.bias": weights.zeros(SEEN)}


def patches(weights: Weights) -> Floats:
    return weights.matrix(SEEN, 3 * PATCH * PATCH).reshape(SEEN, 3, PATCH, PATCH)


def positions(weights: Weights) -> Tensors:
    return {"v.position_embd.weight": weights.matrix((SIDE // PATCH) ** 2, SEEN)}


def idefics3(weights: Weights, width: int) -> tuple[Values, Tensors]:
    values = vision("idefics3", width) | {"clip.vision.preproc_image_size": 2 * SIDE}
    tensors = encoder(weights) | positions(weights)
    tensors["v.patch_embd.weight"] = patches(weights)
    tensors["mm.model.fc.weight"] = weights.matrix(width, MERGE * MERGE * SEEN)
    return values, tensors


def gemma3_projector(weights: Weights, width: int) -> tuple[Values, Tensors]:
    tensors = encoder(weights) | positions(weights)
    tensors["v.patch_embd.weight"] = patches(weights)
    tensors["mm.soft_emb_norm.weight"] = weights.ones(SEEN)
    tensors["mm.input_projection.weight"] = weights.matrix(SEEN, width)
    return vision("gemma3", width), tensors


def qwen2vl(weights: Weights, width: int) -> tuple[Values, Tensors]:
    tensors = encoder(weights)
    merged = MERGE * MERGE * SEEN
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        tensors[name] = patches(weights)
    for name, shape in (("mm.0", (merged, merged)), ("mm.2", (width, merged))):
        tensors[f"{name}.weight"] = weights.matrix(*shape)
        tensors[f"{name}.bias"] = weights.zeros(shape[0])
    return vision("qwen2vl_merger", width), tensors


PROJECTORS: Final[dict[str, Callable[[Weights, int], tuple[Values, Tensors]]]] = {
    "idefics3": idefics3,
    "gemma3": gemma3_projector,
    "qwen2vl": qwen2vl,
}
KINDS: Final = tuple(PROJECTORS)
MARKS: Final[dict[str, tuple[str, ...]]] = {
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


def write_projector(path: Path, kind: str, *, seed: int = 1, width: int = WIDTH) -> Path:
    """Write a projector of one of `KINDS` to `path`, for models whose rows are so wide."""
    values, tensors = PROJECTORS[kind](Weights(seed), width)
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
    "idefics3": llama_with_rope_factors,
    "gemma3": gemma3,
    "qwen2vl": qwen2vl_text,
}
