"""Engines that run a GGUF file, by its header alone; a file that none runs is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import ModelFileError, ModelUnsupported
from app.models.engines import CTRANSFORMERS, LLAMA_CPP, PACKAGES, Engine
from app.models.gguf.architectures import (
    EMBEDDING_ARCHITECTURES,
    OTHER_ARCHITECTURES,
    TEXT_ARCHITECTURES,
)
from app.models.gguf.compatibility import MAX_CONTEXT, check_compatible, check_vocabulary_bounds
from app.models.gguf.features import sliding_window
from app.models.gguf.header import Header
from app.models.gguf.kv_layout import KvLayout, kv_layout
from app.models.model import ModelKind

OLLAMA_ARCHITECTURES: Final = {"gptoss": "ggml-org/gpt-oss-20b-GGUF"}
"""Architectures that only Ollama names so, and where the same models are for all others."""
POOLING_NONE: Final = 0
POOLING_RANK: Final = 4


@dataclass(frozen=True, slots=True)
class FileSupport:
    """engines: those that run the file; context_length: tokens it was trained for."""

    engines: tuple[Engine, ...]
    kind: ModelKind
    context_length: int
    kv: KvLayout


def check_support(header: Header, available: Sequence[Engine]) -> FileSupport:
    """available: the engines that are installed here, one of which must run the file.

    Raises ModelUnsupported, which names the architecture and what would run it, or ModelFileError
    if the file is not sound.
    """
    name = header.path.name
    architecture = header.text("general.architecture")
    if architecture is None:
        raise ModelFileError(f"{name} is damaged: it does not name its architecture.")
    if not header.tensors:
        raise ModelUnsupported(f"{name} holds a vocabulary only, and no model.")
    if (header.integer("split.count") or 1) > 1:
        raise ModelUnsupported(f"{name} is only one part of a split model.")
    if what := OTHER_ARCHITECTURES.get(architecture):
        raise ModelUnsupported(f"{name} is {what} (“{architecture}”): it can't be chatted with.")
    reasons: dict[Engine, str] = {}
    engines: list[Engine] = []
    try:
        check_compatible(header)
        engines.append(CTRANSFORMERS)
    except ModelUnsupported as error:
        reasons[CTRANSFORMERS] = str(error)
    if architecture in TEXT_ARCHITECTURES | EMBEDDING_ARCHITECTURES:
        check_vocabulary_bounds(header)
        engines.append(LLAMA_CPP)
    if not engines:
        raise ModelUnsupported(_unknown(name, architecture))
    if not any(engine in available for engine in engines):
        raise ModelUnsupported(_not_installed(name, architecture, engines, reasons))
    return FileSupport(
        tuple(engines), _kind(header, architecture), _context_length(header), kv_layout(header)
    )


def _unknown(name: str, architecture: str) -> str:
    if other := OLLAMA_ARCHITECTURES.get(architecture):
        return f"{name} (“{architecture}”) is made for Ollama alone; pull hf:{other} instead."
    return (
        f"{name} holds a model of the architecture “{architecture}”, which neither ctransformers "
        "nor the llama.cpp of this Wick knows. A later Wick may; or run it on a server that "
        "can, and add it as a remote model."
    )


def _not_installed(
    name: str, architecture: str, engines: Sequence[Engine], reasons: dict[Engine, str]
) -> str:
    if CTRANSFORMERS in reasons:
        return (
            f"{reasons[CTRANSFORMERS]} llama.cpp runs it: install it with "
            f"“pip install {PACKAGES[LLAMA_CPP]}”."
        )
    return (
        f"{name} holds a model of the architecture “{architecture}”, and {' or '.join(engines)} "
        "would run it, but has no library on this machine."
    )


def _kind(header: Header, architecture: str) -> ModelKind:
    pooling = header.integer(f"{architecture}.pooling_type")
    if pooling == POOLING_RANK:
        return "reranker"
    if architecture in EMBEDDING_ARCHITECTURES or pooling not in (None, POOLING_NONE):
        return "embedding"
    return "text"


def _context_length(header: Header) -> int:
    architecture = header.text("general.architecture")
    key = f"{architecture}.context_length"
    value = header.integer(key)
    if value is None or not 1 <= value <= MAX_CONTEXT:
        raise ModelFileError(f"{header.path.name} is damaged: its “{key}” is {value}.")
    if architecture == "llama":
        return min(value, sliding_window(header) or value)
    return value
