"""Engines that run a GGUF file, by its header alone; a file that none runs is refused.

Architectures are named as in llama.cpp's source (src/llama-arch.cpp);
`tests/models/gguf/test_engine_support_architectures.py` compares them with the installed library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import ModelFileError, ModelUnsupported
from app.models.engines import CTRANSFORMERS, LLAMA_CPP, PACKAGES, Engine
from app.models.gguf.compatibility import MAX_CONTEXT, check_compatible, sliding_window
from app.models.gguf.header import Header
from app.models.gguf.kv_layout import KvLayout, kv_layout
from app.models.gguf.tokens import check_vocabulary_bounds
from app.models.model import ModelKind

_TEXT: Final = """
afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bitnet bloom
chameleon chatglm codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2
deepseek2-ocr deepseek32 deepseek4 dots1 dots3note ernie4_5 ernie4_5-moe exaone exaone-moe exaone4
falcon falcon-h1 gemma gemma2 gemma3 gemma3n gemma4 glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2
gptj gptneox granite granite_swa granitehybrid granitemoe graniteswitch grok grovemoe hrm_text
hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2 jamba k2-horizon kimi-k3
kimi-linear laguna lfm2 lfm2moe llama llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm
minicpm3 minimax-01 minimax-m2 mistral3 mistral4 mpt muse-glimmer nanbeige nemotron nemotron_h
nemotron_h_moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo
plamo2 plamo3 plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3vl
qwen3vlmoe qwen4exp refact rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 spark2_5 stablelm
starcoder starcoder2 step35 talkie xverse
"""
TEXT_ARCHITECTURES: Final = frozenset(_TEXT.split())
"""Those that write text, one token after another."""
EMBEDDING_ARCHITECTURES: Final = frozenset(
    (
        "bert",
        "eurobert",
        "gemma-embedding",
        "gemma-embedding2",
        "jina-bert-v2",
        "jina-bert-v3",
        "llama-embed",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
    )
)
"""Those that make one vector of a text."""
OTHER_ARCHITECTURES: Final[dict[str, str]] = {
    "clip": "only the image or audio part of a model",
    "dflash": "a draft model that only speeds up another one",
    "dream": "a diffusion model, which writes all words at once",
    "eagle3": "a draft model that only speeds up another one",
    "gemma4-assistant": "a draft model that only speeds up another one",
    "llada": "a diffusion model, which writes all words at once",
    "llada-moe": "a diffusion model, which writes all words at once",
    "pockettts": "a model that speaks",
    "qwen3tts": "a model that speaks",
    "rnd1": "a diffusion model, which writes all words at once",
    "t5": "an encoder with a decoder, made for translation",
    "t5encoder": "the encoder of a translation model",
    "wavtokenizer-dec": "the part of a model that speaks",
}
"""Those that llama.cpp loads, and nobody can chat with."""
OLLAMA_ARCHITECTURES: Final = {"gptoss": "ggml-org/gpt-oss-20b-GGUF"}
"""Architectures that only Ollama names so, and where the same models are for all others."""
POOLING_NONE: Final = 0
POOLING_RANK: Final = 4
RERANK_TEMPLATE: Final = "tokenizer.chat_template.rerank"
"""Where a file has it, the model says of a document whether it answers a query."""


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
    kind = _kind(header, architecture)
    try:
        check_compatible(header)
        if kind != "text":
            raise ModelUnsupported(f"ctransformers does not run {name}: it was made for search.")
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
    layout = kv_layout(header)
    if architecture in EMBEDDING_ARCHITECTURES:
        layout = KvLayout(0)  # they see a text whole and keep nothing of it
    return FileSupport(tuple(engines), kind, _context_length(header), layout)


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
    if pooling == POOLING_RANK or header.text(RERANK_TEMPLATE):
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
