"""Vocabulary of a GGUF file, read once when a model is installed, and kept as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import BPE

from app.errors import ModelFileError, ModelUnsupported
from app.models.gguf.header import Header
from app.models.gguf.tokens import MAX_MERGES, MAX_TOKEN_BYTES, TokenKind
from app.models.text import pretokenizers, rust_panics

FILE: Final = "vocabulary.json"
SPACE: Final = "▁"
"""What stands for a space in SentencePiece tokens."""
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


INFILL_NAMES: Final = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""Of the tokens before a text, before what follows its gap, and before what fills that."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens of a model, with their kinds; `specials` never come out of a user's text.

    model: the kind of vocabulary as the file names it, such as gpt2 (byte-level) or llama
    (SentencePiece);
    infill: the ids of the three tokens before a text, before what follows its gap, and before what
    fills that; None where the model was not made for it.
    """

    model: str
    tokens: list[str]
    kinds: list[int]
    specials: list[int]
    bos_id: int | None
    eos_id: int | None
    end_ids: list[int]
    add_bos: bool
    space_prefix: bool
    infill: list[int] | None = None

    def save(self, folder: Path) -> None:
        text = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))
        (folder / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Raises ModelFileError if the file is missing or damaged."""
        try:
            return cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ModelFileError(f"The vocabulary of {folder.name} cannot be read.") from error


def read_vocabulary(header: Header) -> Vocabulary:
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
    known = pretokenizers.STYLES.get(_style_name(header, tokens) or "")
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
    for name in ("eos", "eot", "eom"):
        index = header.integer(f"tokenizer.ggml.{name}_token_id")
        if index is not None:
            ends.add(index)
    return sorted(ends)


def _infill(header: Header, tokens: list[str]) -> list[int] | None:
    """Find the infill tokens by the file's keys for them, old ones included, or by their texts."""
    for names in (("fim_pre", "fim_suf", "fim_mid"), ("prefix", "suffix", "middle")):
        found = [header.integer(f"tokenizer.ggml.{name}_token_id") for name in names]
        ids = [index for index in found if index is not None and 0 <= index < len(tokens)]
        if len(ids) == len(names):
            return ids
    return infill_by_name({token: index for index, token in enumerate(tokens)})


def infill_by_name(ids: Mapping[str, int]) -> list[int] | None:
    for names in INFILL_NAMES:
        if all(name in ids for name in names):
            return [ids[name] for name in names]
    return None


def build_tokenizer(header: Header, vocabulary: Vocabulary) -> FastTokenizer:
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
        with rust_panics.catch_panics():
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


def _style_name(header: Header, tokens: Collection[str]) -> str | None:
    """The first files of Llama 3 did not name it, but their vocabulary is like no other."""
    default = "llama-bpe" if BEGIN_OF_TEXT in tokens else None
    return header.text("tokenizer.ggml.pre") or default


def _byte_level(header: Header, tokens: Collection[str], ids: dict[str, int]) -> FastTokenizer:
    style = pretokenizers.style(_style_name(header, tokens))
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
