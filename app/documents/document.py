"""Document that was read, and what is missing in its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.documents.kinds import UNITS, Kind
from app.documents.pages import list_numbers
from app.documents.protocol import PageRead

Notify = Callable[[PageRead], None]


@dataclass(frozen=True, slots=True)
class Document:
    """Text of a document, with a mark before each page. pages: how many, 0 when nobody knows; note:
    what is missing in the text; textless: numbers of pages that are pictures."""

    text: str
    media_type: str
    pages: int
    textless: tuple[int, ...] = ()
    note: str = ""


def textless_note(numbers: tuple[int, ...], pages: int, kind: Kind) -> str:
    """Say which pages are pictures."""
    if not numbers:
        return ""
    unit = UNITS.get(kind, "Page")
    if len(numbers) == pages:
        return f"No {unit.lower()} has text: they are pictures."
    if len(numbers) == 1:
        return f"{unit} {numbers[0]:,} has no text: it is a picture."
    return f"{unit}s {list_numbers(numbers)} have no text: they are pictures."
