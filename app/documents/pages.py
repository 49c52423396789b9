"""Pages in the text of a document: each begins with a line that says its number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

Unit = Literal["Page", "Slide", "Sheet", "Chapter"]
"""What a page of a document is called."""
PAGE_MARK: Final = re.compile(r"^\[(Page|Slide|Sheet|Chapter) ([0-9]{1,6})\]$", re.MULTILINE)
MAX_LISTED: Final = 6
"""Page numbers that a sentence lists."""


def page_mark(number: int, unit: Unit = "Page") -> str:
    """Write the line that begins a page."""
    return f"[{unit} {number}]"


def join_pages(pages: Iterable[str], unit: Unit = "Page") -> str:
    """Join texts of pages, each behind its mark. What looks like a mark in them becomes none."""
    texts = (PAGE_MARK.sub(lambda found: f" {found[0]}", page.strip("\n")) for page in pages)
    return "".join(
        f"{page_mark(number, unit)}\n{text}\n\n" for number, text in enumerate(texts, start=1)
    ).rstrip("\n")


def split_pages(text: str) -> list[tuple[int, str]]:
    """Split a text into pages: their numbers and texts. A text without marks is one page, 0."""
    marks = [*PAGE_MARK.finditer(text)]
    if not marks:
        return [(0, text)]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        (int(mark[2]), text[mark.end() : end].strip("\n"))
        for mark, end in zip(marks, ends, strict=True)
    ]


def list_numbers(numbers: Sequence[int]) -> str:
    """Write page numbers for a sentence: 1, 3 and 7, or how many more there are."""
    shown = [f"{number:,}" for number in numbers[:MAX_LISTED]]
    if more := len(numbers) - len(shown):
        return f"{', '.join(shown)} and {more:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
