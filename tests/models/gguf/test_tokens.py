"""The byte-level alphabet of vocabularies."""

from __future__ import annotations

from app.models.gguf.tokens import BYTE_OF_CHARACTER, from_byte_level, to_byte_level


def test_the_byte_alphabet_is_complete() -> None:
    assert len(BYTE_OF_CHARACTER) == 256
    assert to_byte_level(b" hi") == "Ġhi"
    assert from_byte_level("Ġhi") == b" hi"
    assert from_byte_level("|▁") is None
