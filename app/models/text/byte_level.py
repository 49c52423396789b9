"""Byte-level alphabet of GPT-2: each byte has a printable character that stands for it."""

from __future__ import annotations

from typing import Final


def _alphabet() -> dict[int, str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + index) for index, byte in enumerate(others)}


CHARACTER: Final = _alphabet()
BYTE: Final = {character: byte for byte, character in CHARACTER.items()}


def to_bytes(token: str) -> bytes | None:
    """The bytes that a byte-level token stands for; None if it is not written in the alphabet."""
    try:
        return bytes([BYTE[character] for character in token])
    except KeyError:
        return None


def from_bytes(data: bytes) -> str:
    return "".join(CHARACTER[byte] for byte in data)
