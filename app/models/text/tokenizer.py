"""Tokenizers: text to token ids and back, with the user's text and the template's kept apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from tokenizers import Tokenizer as FastTokenizer

from app.errors import ModelFileError, TooManyTokens
from app.models.gguf.tokens import TokenKind, from_byte_level
from app.models.model_files import TOKENIZER_FILE
from app.models.text.content_guard import SpecialNames

TokenizerSource = Literal["wick", "llama.cpp"]
"""Whose tokenizer reads a model's texts: Wick's own, or that of llama.cpp's library."""
VOCABULARY_FILE: Final = "vocabulary.json"
SPACE: Final = "▁"
"""What stands for a space in SentencePiece tokens."""
CHUNK_CHARS: Final = 16_384
"""Characters of a long text that are tokenised at a time, to see how many tokens there are."""
SEAM_TOKENS: Final = 8
"""Tokens by which a cut in a text may raise their number."""
INFILL_NAMES: Final = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""Names of the tokens before a text, before what follows its gap, and before what fills that."""


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
        (folder / VOCABULARY_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Raises ModelFileError if the file is missing or damaged."""
        try:
            return cls(**json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ModelFileError(f"The vocabulary of {folder.name} cannot be read.") from error


class NativeTokenizer(Protocol):
    """The tokenizer of an engine's library, for vocabularies that Wick's own does not know."""

    def encode(self, text: str) -> list[int]:
        """The ids of plain text. Never a special token, whatever the text says."""

    def token_bytes(self, index: int) -> bytes:
        """Return the bytes that an ordinary token adds to an answer."""


class Tokenizer:
    """Tokenizer of an installed model. Any thread may use it."""

    def __init__(self, fast: FastTokenizer | NativeTokenizer, vocabulary: Vocabulary) -> None:
        self._fast = fast
        self._vocabulary = vocabulary
        self.bos_id = vocabulary.bos_id
        self.eos_id = vocabulary.eos_id
        self.adds_bos = vocabulary.add_bos
        self.end_ids = frozenset(vocabulary.end_ids)
        self.special_ids = frozenset(vocabulary.specials)
        self.vocab_size = len(vocabulary.tokens)
        # Unused and unknown tokens are hidden from users' text but mark nothing in a template.
        # A single character marks nothing either.
        self._marks = {
            vocabulary.tokens[index]: index
            for index in reversed(vocabulary.specials)
            if vocabulary.kinds[index] != TokenKind.UNUSED and len(vocabulary.tokens[index]) > 1
        }
        self.names = SpecialNames(self._marks)
        self._longest = max((len(token.encode()) for token in vocabulary.tokens), default=1)
        # Models that were installed before files were asked for it are known by their tokens.
        self.infill_ids = vocabulary.infill or infill_by_name(self._marks)

    @classmethod
    def load(cls, folder: Path, native: NativeTokenizer | None = None) -> Self:
        """Read the tokenizer of an installed model; `native` is taken where Wick has none for it.

        Raises ModelFileError if it is damaged, or needs a native one and there is none.
        """
        if native is not None and not (folder / TOKENIZER_FILE).exists():
            return cls(native, Vocabulary.load(folder))
        try:
            with catch_panics():
                fast = FastTokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # `tokenizers` raises bare exceptions
            raise ModelFileError(f"The tokenizer of {folder.name} cannot be read.") from error
        return cls(fast, Vocabulary.load(folder))

    def check_length(self, text: str, most: int) -> None:
        """Raises TooManyTokens if the text has more than `most` tokens for certain. That takes no
        longer than tokenising as much as would fit."""
        if len(text) > most * self._longest:
            raise TooManyTokens(self._extrapolated(text, CHUNK_CHARS))
        if len(text) <= 4 * most:
            return  # what it can cost is in bounds already
        counted = 0
        for start in range(0, len(text), CHUNK_CHARS):
            counted += max(
                0, len(self.encode_continuation(text[start : start + CHUNK_CHARS])) - SEAM_TOKENS
            )
            if counted > most:
                raise TooManyTokens(self._extrapolated(text, start + CHUNK_CHARS))

    def beginning(self, text: str, count: int) -> str:
        """Return a beginning of `text` that has at least its first `count` tokens."""
        counted = 0
        for end in range(CHUNK_CHARS, len(text), CHUNK_CHARS):
            counted += max(
                0, len(self.encode_continuation(text[end - CHUNK_CHARS : end])) - SEAM_TOKENS
            )
            if counted > count:
                return text[:end]
        return text

    def _extrapolated(self, text: str, known: int) -> int:
        sample = text[: min(known, CHUNK_CHARS)]
        return len(self.encode_continuation(sample)) * len(text) // max(1, len(sample))

    def encode(self, text: str) -> list[int]:
        """The ids of plain text. Never a special token, whatever the text says."""
        is_own = isinstance(self._fast, FastTokenizer)  # else the library sees to it
        if is_own and self._vocabulary.model == "llama" and self._vocabulary.space_prefix and text:
            text = " " + text
        return self.encode_continuation(text)

    def encode_continuation(self, text: str) -> list[int]:
        """The ids of plain text that goes on behind other text."""
        if not text:
            return []
        if not isinstance(self._fast, FastTokenizer):
            return self._fast.encode(text.encode("utf-8", "replace").decode())
        if self._vocabulary.model == "llama":
            text = text.replace(" ", SPACE)
        try:
            ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        except TypeError:  # half of a surrogate pair
            clean = text.encode("utf-8", "replace").decode()
            ids = self._fast.encode(clean, add_special_tokens=False).ids
        return ids

    def split_special_tokens(self, text: str) -> list[int | str]:
        """Split `text` at the names of special tokens: their ids, and the text between them."""
        parts: list[int | str] = []
        position = 0
        for match in self.names.whole.finditer(text):
            if match.start() > position:
                parts.append(text[position : match.start()])
            parts.append(self._marks[match.group()])
            position = match.end()
        if position < len(text):
            parts.append(text[position:])
        return parts

    def special_text(self, index: int | None) -> str:
        """The name of a special token, as templates write it; empty for None."""
        return "" if index is None else self._vocabulary.tokens[index]

    def marked_text(self, ids: Iterable[int]) -> str:
        """Decode tokens, special ones to their names."""
        said = (
            self._vocabulary.tokens[index].encode()
            if index in self.special_ids
            else self.token_bytes(index)
            for index in ids
        )
        return b"".join(said).decode("utf-8", "replace")

    def has_special(self, name: str) -> bool:
        return name in self._marks

    def token_bytes(self, index: int) -> bytes:
        """Return the bytes a token adds to an answer: none for special tokens and unknown ids."""
        if index in self.special_ids or not 0 <= index < self.vocab_size:
            return b""
        if not isinstance(self._fast, FastTokenizer):
            return self._fast.token_bytes(index)
        token, kind = self._vocabulary.tokens[index], self._vocabulary.kinds[index]
        if self._vocabulary.model == "llama":
            if kind == TokenKind.BYTE:
                return bytes([int(token[3:5], 16)])
            return token.replace(SPACE, " ").encode()
        raw = from_byte_level(token) if kind == TokenKind.NORMAL else None
        return token.encode() if raw is None else raw


def infill_by_name(ids: Mapping[str, int]) -> list[int] | None:
    for names in INFILL_NAMES:
        if all(name in ids for name in names):
            return [ids[name] for name in names]
    return None


class _RustPanic(Exception):
    """A library met what its authors held to be impossible."""


@contextmanager
def catch_panics() -> Iterator[None]:
    """Raise a panic within as _RustPanic, everything else as it is."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":  # its class cannot be imported
            raise
        raise _RustPanic(str(error)) from error
