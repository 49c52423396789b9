"""Pretokenizers: how a byte-level vocabulary cuts text into words, by the name in its GGUF file.

The names are those of llama.cpp (`llama-vocab.cpp`); the patterns and the normalisation are those
of the models' own `tokenizer.json`, which differ from llama.cpp's in small ways. Names of which
there is nothing to compare with (see `tests/models/text/make_vectors.py`) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tokenizers import Regex
from tokenizers.normalizers import NFC, Normalizer
from tokenizers.pre_tokenizers import (
    ByteLevel,
    Digits,
    PreTokenizer,
    Punctuation,
    Sequence,
    Split,
)

from app.errors import ModelUnsupported

LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2: Final = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASED_LETTERS: Final = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-"
    "ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-"
    "ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
"""What DeepSeek LLM takes for letters: the scripts that know capitals."""
HAN_AND_HANGUL: Final = "[一-龥ࠀ-一가-퟿]+"


@dataclass(frozen=True, slots=True)
class PretokenizerSpec:
    """Rules by which one family of models prepares text.

    digits: every digit is a word; patterns: cut out one after another, none: GPT-2's own rule;
    whole_words: a word found in the vocabulary is taken as it is; bos: a prompt begins with BOS;
    composed: characters and their accents are put together first (NFC); runs: as Falcon does it,
    punctuation first and digits in threes.
    """

    digits: bool = False
    patterns: tuple[str, ...] = ()
    whole_words: bool = False
    bos: bool = False
    composed: bool = False
    runs: bool = False

    def build(self) -> PreTokenizer:
        steps: list[PreTokenizer] = []
        if self.runs:
            steps.append(Punctuation(behavior="contiguous"))
        steps += [Split(Regex(pattern), behavior="isolated") for pattern in self.patterns]
        if self.digits:
            steps.append(Digits(individual_digits=True))
        steps.append(ByteLevel(add_prefix_space=False, use_regex=not self.patterns))
        if self.runs:
            steps.append(Digits(individual_digits=False))
            steps.append(Split(Regex("[0-9][0-9][0-9]"), behavior="isolated"))
        return Sequence(steps)

    def normalizer(self) -> Normalizer | None:
        return NFC() if self.composed else None


_LLAMA3 = PretokenizerSpec(patterns=(LLAMA3,), whole_words=True, bos=True)
STYLES: Final[dict[str, PretokenizerSpec]] = {
    "gpt-2": PretokenizerSpec(),
    "mpt": PretokenizerSpec(composed=True),
    "smollm": PretokenizerSpec(digits=True),
    "starcoder": PretokenizerSpec(digits=True),
    "command-r": PretokenizerSpec(digits=True, composed=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,  # the same under names of other years
    "llama-v3": _LLAMA3,
    "qwen2": PretokenizerSpec(patterns=(QWEN2,), composed=True),
    "tekken": PretokenizerSpec(patterns=(TEKKEN,), whole_words=True, bos=True),
    "falcon": PretokenizerSpec(runs=True),
    "deepseek-llm": PretokenizerSpec(
        patterns=(
            r"[\r\n]",
            rf"\s?[{CASED_LETTERS}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            HAN_AND_HANGUL,
        ),
        digits=True,
        bos=True,
    ),
    "deepseek-coder": PretokenizerSpec(
        patterns=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_AND_HANGUL), digits=True, bos=True
    ),
}


def style(name: str | None) -> PretokenizerSpec:
    """Raises ModelUnsupported for a name that is not known: guessing would garble every prompt."""
    if name in STYLES:
        return STYLES[name]
    how = f"in a way Wick does not know (“{name}”)" if name else "in a way its file does not name"
    hint = "" if name else "; a file that was converted more lately may"
    raise ModelUnsupported(
        f"The model cuts text into words {how}{hint}. Wick knows {', '.join(sorted(STYLES))}."
    )
