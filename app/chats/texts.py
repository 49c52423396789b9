"""Text as people send it, made fit for keeping."""

from __future__ import annotations


def storable(text: str) -> str:
    """Lines end in one way; what SQLite and UTF-8 cannot hold (lone surrogates, NUL) becomes a
    replacement character."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")
