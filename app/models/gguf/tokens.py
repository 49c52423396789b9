"""Tokens in a GGUF file: their kinds, their byte-level alphabet, and checks of a vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from app.errors import ModelFileError, ModelUnsupported
from app.models.gguf.header import Array, Header, ValueType

MAX_VOCABULARY: Final = 500_000
MAX_MERGES: Final = 1_000_000
MAX_TOKEN_BYTES: Final = 1_024
"""Bytes of one token: what is computed of a token grows with the square of its length."""
MAX_VOCABULARY_BYTES: Final = 16_000_000
"""Bytes of all tokens together."""
MAX_SPECIAL_TOKENS: Final = 20_000
"""Control and user-defined tokens, each of which is looked for in every template's text."""
MAX_SPECIAL_TOKEN_BYTES: Final = 1_000_000
"""Bytes of those together: looking for one takes a hundred times its length in memory."""
_BYTE_NAME: Final = re.compile(rb"<0x[0-9A-F]{2}>")
_NEWLINE_BYTE: Final = b"<0x0A>"


class TokenKind(IntEnum):
    """Kinds of tokens, as numbered by `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_MARKS: Final = (TokenKind.CONTROL, TokenKind.USER_DEFINED)


def _alphabet() -> dict[int, str]:
    """The alphabet of GPT-2: each byte has a printable character that stands for it."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + index) for index, byte in enumerate(others)}


CHARACTER_OF_BYTE: Final = _alphabet()
BYTE_OF_CHARACTER: Final = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}


def from_byte_level(token: str) -> bytes | None:
    """The bytes that a byte-level token stands for; None if it is not written in the alphabet."""
    try:
        return bytes([BYTE_OF_CHARACTER[character] for character in token])
    except KeyError:
        return None


def to_byte_level(data: bytes) -> str:
    """Spell bytes in the alphabet of byte-level tokens."""
    return "".join(CHARACTER_OF_BYTE[byte] for byte in data)


def check_vocabulary(header: Header) -> None:
    """Check that ctransformers reads the vocabulary. Raises ModelFileError or ModelUnsupported."""
    name = header.path.name
    model = header.text("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        raise ModelUnsupported(
            f"{name} has a vocabulary of the kind “{model}”; ctransformers reads “llama” and "
            "“gpt2”."
        )
    _check_counts(header)
    tokens = header.strings("tokenizer.ggml.tokens") or []
    try:
        b"\n".join(tokens).decode()
    except UnicodeDecodeError:
        raise ModelFileError(f"{name} is damaged: a token is not UTF-8.") from None
    _check_lengths(name, tokens)
    types = header.numbers("tokenizer.ggml.token_type")
    scores = header.numbers("tokenizer.ggml.scores")
    for list_name, key, kinds in (
        ("types", "token_type", (ValueType.INT32, ValueType.UINT32)),
        ("scores", "scores", (ValueType.FLOAT32,)),
    ):
        values = header.metadata.get(f"tokenizer.ggml.{key}")
        # The engine reads four bytes for every token there is, whatever the list holds.
        if isinstance(values, Array) and (values.count != len(tokens) or values.type not in kinds):
            raise ModelFileError(f"{name} is damaged: its tokens and their {list_name} differ.")
    if types is None:
        raise ModelFileError(f"{name} is damaged: the types of its tokens are missing.")
    _check_kinds(name, tokens, types, has_bytes=model == "llama")
    if model == "llama" and scores is None:
        raise ModelFileError(f"{name} is damaged: the scores of its tokens are missing.")
    if model == "gpt2" and header.strings("tokenizer.ggml.merges") is None:
        raise ModelFileError(f"{name} is damaged: the merges of its vocabulary are missing.")
    # The engine looks this token up while it loads; a miss is undefined behaviour.
    newline = to_byte_level(b"\n").encode() if model == "gpt2" else _NEWLINE_BYTE
    if not any(
        token == newline and (model == "llama" or kind == TokenKind.NORMAL)
        for token, kind in zip(tokens, types, strict=True)
    ):
        raise ModelUnsupported(f"{name} has a vocabulary without a line break.")
    _check_named_ids(header, len(tokens))


def check_vocabulary_bounds(header: Header) -> None:
    """Check the bounds of a vocabulary, whichever engine reads it. Raises ModelFileError."""
    _check_counts(header)
    name, tokens = header.path.name, header.strings("tokenizer.ggml.tokens") or []
    _check_lengths(name, tokens)
    types = header.numbers("tokenizer.ggml.token_type")
    if types is not None and len(types) != len(tokens):
        raise ModelFileError(f"{name} is damaged: its tokens and their types differ.")
    _check_kinds(name, tokens, types or [TokenKind.NORMAL] * len(tokens), has_bytes=False)
    _check_named_ids(header, len(tokens))


def _check_counts(header: Header) -> None:
    """Check the lengths of lists before they are built: a token takes far more memory than file."""
    for what, least, most in (("tokens", 1, MAX_VOCABULARY), ("merges", 0, MAX_MERGES)):
        count = header.count(f"tokenizer.ggml.{what}")
        if not least <= count <= most:
            raise ModelFileError(
                f"{header.path.name} is damaged: its vocabulary has {count} {what}."
            )


def _check_named_ids(header: Header, count: int) -> None:
    for key in header.metadata:
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            value = header.integer(key)
            if value is None or not 0 <= value < count:
                raise ModelFileError(
                    f"{header.path.name} is damaged: its “{key}” is not in its vocabulary."
                )


def _check_lengths(name: str, tokens: Sequence[bytes]) -> None:
    longest = max(map(len, tokens))
    if longest > MAX_TOKEN_BYTES:
        raise ModelFileError(
            f"{name} is damaged: a token of its vocabulary is {longest:,} bytes long."
        )
    if sum(map(len, tokens)) > MAX_VOCABULARY_BYTES:
        raise ModelFileError(f"{name} is damaged: the tokens of its vocabulary are too long.")


def _check_kinds(
    name: str, tokens: Sequence[bytes], types: Sequence[float], *, has_bytes: bool
) -> None:
    marks = [len(token) for token, kind in zip(tokens, types, strict=True) if kind in _MARKS]
    if len(marks) > MAX_SPECIAL_TOKENS or sum(marks) > MAX_SPECIAL_TOKEN_BYTES:
        raise ModelFileError(
            f"{name} is damaged: its vocabulary has {len(marks):,} special tokens "
            f"of {sum(marks):,} bytes."
        )
    if has_bytes and not all(
        kind != TokenKind.BYTE or _BYTE_NAME.fullmatch(token)
        for token, kind in zip(tokens, types, strict=True)
    ):
        raise ModelFileError(f"{name} is damaged: a byte token of its vocabulary names no byte.")
