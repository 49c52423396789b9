"""Features of a llama model beyond the plain design, and which of them ctransformers computes."""

from __future__ import annotations

import math
from typing import Final

from app.errors import ModelFileError, ModelUnsupported
from app.models.gguf.header import Array, Header

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


def check_features(header: Header) -> None:
    """Raises ModelUnsupported for a model that ctransformers would compute wrongly."""
    name = header.path.name
    if header.integer("llama.expert_count"):
        raise ModelUnsupported(
            f"{name} is a mixture of experts (as Mixtral is), which ctransformers does not know."
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
            f"{name} stretches its context by a table of factors (as Llama 3.1 and later do), "
            "which ctransformers does not know; Llama 3 and earlier will do."
        )
    rope_scale(header)


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
            f"{header.path.name} has blocks that look back differently far, "
            "which ctransformers cannot do."
        )
    width = header.integer(key)
    return width if width is not None and width > 0 else None


def _shown(value: object) -> str:
    return "a list" if isinstance(value, Array) else str(value)[:40]
