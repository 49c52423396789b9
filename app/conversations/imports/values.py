"""Reads values of files that others wrote: what is not as it should be, `null` too, is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.conversations.settings import sanitize_text

Json = dict[str, Any]
PICTURE = "[not in the export: a picture or a file]"


def dict_in(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def list_in(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dicts_in(value: Any) -> Iterator[Json]:
    return (item for item in list_in(value) if isinstance(item, dict))


def text_in(value: Any) -> str:
    """Text that SQLite and UTF-8 can hold; anything else is nothing."""
    return sanitize_text(value) if isinstance(value, str) else ""


def key_in(value: Any) -> str | None:
    """The id of a message, which some files write as a number."""
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, str | int) else None


def number_of(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and -1e15 < value < 1e15 else None


def time_in(value: Any) -> float | None:
    """Seconds since 1970; some files have thousandths, or less."""
    number = number_of(value)
    while number is not None and number > 1e11:
        number /= 1000
    return None if number is None or number <= 0 else float(number)


def fenced(text: str, language: str = "") -> str:
    """A block of code that nothing inside it ends."""
    longest = max((len(run) for run in _runs(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _runs(text: str) -> Iterator[str]:
    return (run for line in text.split("\n") for run in [_leading(line.strip())] if run)


def _leading(line: str) -> str:
    return line[: len(line) - len(line.lstrip("`"))]


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.strip().split("\n"))
