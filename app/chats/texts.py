"""Text as people send it, made fit for keeping."""

from __future__ import annotations

import math


def sanitize_text(text: str) -> str:
    """Lines end in one way; what SQLite and UTF-8 cannot hold (lone surrogates, NUL) becomes a
    replacement character."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")


def parse_number(text: str, least: float, most: float, *, is_whole: bool = False) -> float | None:
    """A number as a person writes it; None for what is none, or lies outside of these limits."""
    try:
        number: float = int(text) if is_whole else float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    return number if least <= number <= most else None


def number_text(number: float) -> str:
    """A number in as few digits as give it back exactly."""
    if isinstance(number, int):
        return str(number)
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
