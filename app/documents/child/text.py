"""Text of a document while it is being read."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.documents.child.limits import CannotRead
from app.documents.pages import Unit, join_pages
from app.documents.protocol import MAX_PAGES, MAX_TEXT_CHARS


@dataclass(slots=True)
class Pages:
    """Texts of pages; of one that has none, a single text. unit: what they are called, None where
    nobody knows where they begin; count: how many there are, 0 where nobody knows that either;
    textless: numbers of pages with pictures but without text."""

    texts: list[str] = field(default_factory=list)
    unit: Unit | None = "Page"
    count: int = 0
    textless: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, text: str) -> None:
        """Add a page. Raises CannotRead when there are too many, or too much in them."""
        self.texts.append(text)
        self.size += len(text)
        self.count = len(self.texts)
        if self.count > MAX_PAGES:
            raise CannotRead("pages")
        if self.size > MAX_TEXT_CHARS:
            raise CannotRead("large")

    def text(self) -> str:
        return join_pages(self.texts, self.unit) if self.unit else "\n\n".join(self.texts)


def table(rows: list[list[str]]) -> str:
    """Write a table in Markdown; its first row is its head. Empty rows and columns are left out."""
    rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    rows = [row for row in rows if any(row)]
    width = max((len(row) for row in rows), default=0)
    rows = [row + [""] * (width - len(row)) for row in rows]
    used = [column for column in range(width) if any(row[column] for row in rows)]
    if not used:
        return ""
    lines = [f"| {' | '.join(row[column] for column in used)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(used), *lines[1:]])
