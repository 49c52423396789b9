"""Progress of a model through the pages of documents in its prompt."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from app.documents.pages import PAGE_MARK


class ReadDocument(NamedTuple):
    """A document in a prompt: its name, how many pages it has, and its text with their marks."""

    name: str
    pages: int
    text: str


class PageProgress:
    """Pages of documents by their places in a prompt, which tokens follow closely enough."""

    def __init__(self, contents: Sequence[str], documents: Sequence[ReadDocument]) -> None:
        """contents: the texts of the prompt's turns."""
        prompt = "".join(contents)
        self._length = max(1, len(prompt))
        self._starts: list[int] = []
        self._lines: list[str] = []
        is_one = len(documents) == 1
        for document in documents:
            start = prompt.find(document.text)
            if start >= 0:
                self._add(document, start, "" if is_one else f" of {document.name}")

    def _add(self, document: ReadDocument, start: int, name: str) -> None:
        marks = [*PAGE_MARK.finditer(document.text)]
        for mark in marks if len(marks) > 1 else ():
            self._starts.append(start + mark.start())
            page = f"{mark[1].lower()} {int(mark[2]):,} of {document.pages:,}"
            self._lines.append(f"Reading {page}{name}")
        self._starts.append(start + len(document.text))
        self._lines.append("")

    def line(self, done: int, total: int) -> str:
        """Say which page is being read; nothing between documents."""
        place = done * self._length // max(1, total)
        at = bisect_right(self._starts, place) - 1
        return self._lines[at] if at >= 0 and done < total else ""
