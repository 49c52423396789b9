"""Text from outside, made fit for SQLite and UTF-8."""

from __future__ import annotations


def to_storable(text: str) -> str:
    """Replace what cannot be kept: halves of characters, which JSON can name, and NUL."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")
