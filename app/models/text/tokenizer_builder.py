"""Builder of tokenizers: reads the vocabulary of a GGUF file once, when a model is installed.

How a byte-level vocabulary cuts text into words, its file says by a name. The names are those of
llama.cpp (`llama-vocab.cpp`); the patterns and the normalisation are those of the models' own
`tokenizer.json`, which differ from llama.cpp's in small ways. Names of which there is nothing to
compare with (see `tests/models/text/make_vectors.py`) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Regex
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Normalizer
from tokenizers.pre_tokenizers import (
    ByteLevel,
    Digits,
    PreTokenizer,
    Punctuation,
    Sequence,
    Split,
)

from app.errors import ModelFileError, ModelUnsupported
from app.models.engines import NativeUse
from app.models.gguf.header import Header
from app.models.gguf.tokens import MAX_MERGES, MAX_TOKEN_BYTES, TokenKind
from app.models.model_files import TOKENIZER_FILE
from app.models.text.tokenizer import (
    SPACE,
    TokenizerSource,
    Vocabulary,
    catch_panics,
    infill_by_name,
)

MAX_MERGED_TOKENS: Final = 100_000
"""Tokens of a SentencePiece vocabulary whose merges are found in a second or two."""
BEGIN_OF_TEXT: Final = "<|begin_of_text|>"
MARKER: Final = re.compile(r"<.+>|\[[A-Z_/]+\]|<\|.*", re.DOTALL)
"""How tokens look that mark structure, not text."""
END_NAMES: Final = frozenset(
    (
        "<|im_end|>",
        "<|eot_id|>",
        "<|endoftext|>",
        "</s>",
        "<end_of_turn>",
        "<|end_of_text|>",
        "<|end|>",
        "<|eom_id|>",
        "<|end_of_turn|>",
        "<|eot|>",
        "<EOT>",
        "[EOT]",
        "<turn|>",
        "<|return|>",
        "<|call|>",
        "<end_of_utterance>",
        "<|END_OF_TURN_TOKEN|>",
    )
)
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
PRETOKENIZERS: Final[dict[str, PretokenizerSpec]] = {
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


def save_tokenizer(header: Header, folder: Path, *, native: NativeUse = "never") -> TokenizerSource:
    """Write `vocabulary.json`, and `tokenizer.json` where Wick's own tokenizer can do it.

    native: when llama.cpp's tokenizer is taken instead. Raises ModelUnsupported or ModelFileError.
    """
    vocabulary = _read_vocabulary(header)
    source: TokenizerSource = "wick"
    is_slow = vocabulary.model == "llama" and len(vocabulary.tokens) > MAX_MERGED_TOKENS
    try:
        if native == "if quicker" and is_slow:
            raise ModelUnsupported("The merges of its vocabulary would take long to find.")
        _build_tokenizer(header, vocabulary).save(str(folder / TOKENIZER_FILE), pretty=False)
    except (ModelUnsupported, ModelFileError):
        if native == "never":
            raise
        source = "llama.cpp"
    vocabulary.save(folder)
    return source


def _read_vocabulary(header: Header) -> Vocabulary:
    """Read the vocabulary of a file that passed `check_support`."""
    model = header.text("tokenizer.ggml.model") or ""
    raw = header.strings("tokenizer.ggml.tokens") or ()
    tokens = [token.decode("utf-8", "replace") for token in raw]
    types = header.numbers("tokenizer.ggml.token_type")
    kinds = [int(kind) for kind in types] if types else [int(TokenKind.NORMAL)] * len(tokens)
    bos, eos = (header.integer(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    specials = _specials(tokens, kinds, {bos, eos} - {None})
    return Vocabulary(
        model=model,
        tokens=tokens,
        kinds=kinds,
        specials=specials,
        bos_id=bos,
        eos_id=eos,
        end_ids=_end_ids(header, tokens, specials),
        add_bos=bos is not None
        and header.flag("tokenizer.ggml.add_bos_token", default=_default_bos(header, tokens)),
        space_prefix=model == "llama"
        and header.flag("tokenizer.ggml.add_space_prefix", default=True),
        infill=_infill(header, tokens),
    )


def _default_bos(header: Header, tokens: list[str]) -> bool:
    """Tell whether a prompt begins with BOS where the file does not say."""
    if header.text("tokenizer.ggml.model") != "gpt2":
        return True
    known = PRETOKENIZERS.get(_pretokenizer_name(header, tokens) or "")
    return known is not None and known.bos


def _specials(tokens: list[str], kinds: list[int], named: set[int | None]) -> list[int]:
    def special(index: int) -> bool:
        kind = kinds[index]
        if kind in (TokenKind.UNKNOWN, TokenKind.CONTROL, TokenKind.UNUSED) or index in named:
            return True
        # Some converters file markers such as <|im_start|> under the user-defined tokens.
        return kind == TokenKind.USER_DEFINED and bool(MARKER.fullmatch(tokens[index]))

    return [index for index in range(len(tokens)) if special(index)]


def _end_ids(header: Header, tokens: list[str], specials: list[int]) -> list[int]:
    ends = {index for index in specials if tokens[index] in END_NAMES}
    if {"<|return|>", "<|call|>"} <= {tokens[index] for index in ends}:
        # In gpt-oss' format <|end|> closes one channel, and the answer follows in the next.
        ends = {index for index in ends if tokens[index] != "<|end|>"}
    # In Muse's, <|eom|> closes the thought.
    going_on = {index for index in specials if tokens[index] == "<|eom|>"}
    for name in ("eos", "eot", "eom"):
        index = header.integer(f"tokenizer.ggml.{name}_token_id")
        if index is not None:
            ends.add(index)
    return sorted(ends - going_on)


def _infill(header: Header, tokens: list[str]) -> list[int] | None:
    """Find the infill tokens by the file's keys for them, old ones included, or by their texts."""
    for names in (("fim_pre", "fim_suf", "fim_mid"), ("prefix", "suffix", "middle")):
        found = [header.integer(f"tokenizer.ggml.{name}_token_id") for name in names]
        ids = [index for index in found if index is not None and 0 <= index < len(tokens)]
        if len(ids) == len(names):
            return ids
    return infill_by_name({token: index for index, token in enumerate(tokens)})


def _build_tokenizer(header: Header, vocabulary: Vocabulary) -> FastTokenizer:
    """Build a tokenizer of plain text: special tokens are not in it, so no text can become one.

    Raises ModelUnsupported for a kind of vocabulary that is not known, and ModelFileError if
    vocabulary and merges do not belong together.
    """
    if vocabulary.model not in ("gpt2", "llama"):
        raise ModelUnsupported(
            f"{header.path.name} has a vocabulary of the kind “{vocabulary.model}”, which Wick "
            "does not know."
        )
    hidden = set(vocabulary.specials)
    ids: dict[str, int] = {}
    for index, token in enumerate(vocabulary.tokens):
        if index not in hidden:
            ids.setdefault(token, index)
    try:
        with catch_panics():
            if vocabulary.model == "gpt2":
                fast = _byte_level(header, vocabulary.tokens, ids)
            else:
                fast = _sentencepiece(header, vocabulary, ids)
    except ModelUnsupported:
        raise
    except Exception as error:  # `tokenizers` raises bare exceptions
        raise ModelFileError(f"{header.path.name} has a damaged vocabulary: {error}.") from error
    own = [
        AddedToken(_stored(vocabulary, index), normalized=False, special=False)
        for index in ids.values()
        if vocabulary.kinds[index] == TokenKind.USER_DEFINED
    ]
    fast.add_tokens(own)
    return fast


def _stored(vocabulary: Vocabulary, index: int) -> str:
    token = vocabulary.tokens[index]
    return token.replace(" ", SPACE) if vocabulary.model == "llama" else token


def _pretokenizer_name(header: Header, tokens: Collection[str]) -> str | None:
    """The first files of Llama 3 did not name it, but their vocabulary is like no other."""
    default = "llama-bpe" if BEGIN_OF_TEXT in tokens else None
    return header.text("tokenizer.ggml.pre") or default


def _byte_level(header: Header, tokens: Collection[str], ids: dict[str, int]) -> FastTokenizer:
    style = pretokenizer_for(_pretokenizer_name(header, tokens))
    merges: list[tuple[str, str]] = []
    for merge in header.strings("tokenizer.ggml.merges") or ():
        text = merge.decode()
        cut = text.find(" ", 1)
        left, right = text[:cut], text[cut + 1 :]
        if cut > 0 and left in ids and right in ids and left + right in ids:
            merges.append((left, right))
    fast = FastTokenizer(BPE(vocab=ids, merges=merges, ignore_merges=style.whole_words))
    fast.pre_tokenizer = style.build()
    if normalizer := style.normalizer():
        fast.normalizer = normalizer
    return fast


def _sentencepiece(header: Header, vocabulary: Vocabulary, ids: dict[str, int]) -> FastTokenizer:
    scores = header.numbers("tokenizer.ggml.scores") or ()
    ordinary = {
        token: index for token, index in ids.items() if vocabulary.kinds[index] == TokenKind.NORMAL
    }
    has_bytes = all(f"<0x{byte:02X}>" in ids for byte in range(256))
    if not has_bytes:
        raise ValueError("its byte tokens are missing")
    merges = merges_from_scores(ordinary, scores)
    return FastTokenizer(BPE(vocab=ids, merges=merges, byte_fallback=True, unk_token=None))


def merges_from_scores(ids: dict[str, int], scores: tuple[float, ...]) -> list[tuple[str, str]]:
    """Derive the merges that SentencePiece's greedy choice by score amounts to, best first.

    Works like `generate_merges` of transformers: every way to put a token together from two others,
    by the score of the whole, then by the lengths of the parts. Raises ValueError for a vocabulary
    that is made to have too many.
    """
    kept = {token: token for token in ids}  # its parts are the very strings, and not copies
    room = MAX_TOKEN_BYTES
    found: list[tuple[float, int, int, str, str]] = []
    for token, index in ids.items():
        pairs = [
            (left, right)
            for cut in range(1, len(token))
            if (left := kept.get(token[:cut])) and (right := kept.get(token[cut:]))
        ]
        pairs.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        found += [(scores[index], len(left), len(right), left, right) for left, right in pairs]
        room -= len(pairs) * len(token)
        if len(found) > MAX_MERGES or room < 0:
            raise ValueError("its tokens can be put together in too many ways")
    found.sort(key=lambda merge: merge[:3], reverse=True)
    return [(left, right) for *_, left, right in found]


def pretokenizer_for(name: str | None) -> PretokenizerSpec:
    """Raises ModelUnsupported for a name that is not known: guessing would garble every prompt."""
    if name in PRETOKENIZERS:
        return PRETOKENIZERS[name]
    how = f"in a way Wick does not know (“{name}”)" if name else "in a way its file does not name"
    hint = "" if name else "; a file that was converted more lately may"
    raise ModelUnsupported(
        f"The model cuts text into words {how}{hint}. "
        f"Wick knows {', '.join(sorted(PRETOKENIZERS))}."
    )
