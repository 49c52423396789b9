"""How a byte-level vocabulary wants text cut into words, by the name its GGUF file gives.

The names and patterns are those of llama.cpp (`llama-vocab.cpp`) and of the models' own
`tokenizer.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from app.errors import ModelUnsupported

LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2: Final = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True, slots=True)
class Style:
    """`whole_words`: a word found in the vocabulary is taken as it is; `bos`: begins with BOS."""

    digits: bool = False
    pattern: str | None = None
    whole_words: bool = False
    bos: bool = False

    def build(self) -> PreTokenizer:
        if self.pattern:
            split = Split(Regex(self.pattern), behavior="isolated")
            return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
        gpt2 = ByteLevel(add_prefix_space=False, use_regex=True)
        return Sequence([Digits(individual_digits=True), gpt2]) if self.digits else gpt2


_GPT2, _SMOLLM = Style(), Style(digits=True)
_LLAMA3 = Style(pattern=LLAMA3, whole_words=True, bos=True)
STYLES: Final[dict[str, Style]] = {
    "default": _GPT2,
    "gpt-2": _GPT2,
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "refact": _SMOLLM,
    "command-r": _SMOLLM,
    "codeshell": _SMOLLM,
    "minerva-7b": _SMOLLM,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "qwen2": Style(pattern=QWEN2),
}


def style(name: str | None) -> Style:
    """Raises ModelUnsupported for a name that is not known: guessing would garble every prompt."""
    try:
        return STYLES[name or "default"]
    except KeyError:
        known = ", ".join(sorted(STYLES))
        raise ModelUnsupported(
            f"The model cuts text into words in a way Wick does not know (“{name}”); "
            f"it knows {known}."
        ) from None
