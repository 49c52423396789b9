"""Architectures of GGUF files that llama.cpp knows, as its source names them (src/llama-arch.cpp).

`tests/models/gguf/test_architectures.py` compares them with the names in the installed library.
"""

from __future__ import annotations

from typing import Final

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
    "clip": "the part of a model that sees or hears, and no model by itself",
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
RECURRENT_ARCHITECTURES: Final = frozenset(
    ("arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7")
)
"""Those without attention: a state of fixed size stands for all they have read."""
WINDOW_PERIODS: Final[dict[str, int]] = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "muse-glimmer": 4,
    "olmo2": 4,
    "plamo3": 8,
}
"""Every which layer sees the whole context, where a file names a window and no pattern."""
FULL_ATTENTION_INTERVALS: Final[dict[str, int]] = {
    "qwen35": 4,
    "qwen35moe": 4,
    "qwen3next": 4,
    "qwen4exp": 4,
}
"""Every which layer has attention; the others keep a state of fixed size."""
OWN_KV_LAYERS: Final[dict[str, int]] = {"gemma3n": 20}
"""How many layers have keys and values of their own; the others read those of these."""
