"""Files that are being read for somebody who waits: at which page each is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.documents.document import Notify
from app.documents.protocol import PageRead

MAX_KEY_CHARS: Final = 40


class Readings:
    """Progress of files, by their user and a key that the page has made up."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], str] = {}

    @contextmanager
    def follow(self, user_id: int, key: str) -> Iterator[Notify]:
        """Give what is to hear of the pages of a file, until it is read."""
        place = user_id, key[:MAX_KEY_CHARS]

        def note(page: PageRead) -> None:
            self._lines[place] = f"Reading page {page.number:,} of {page.count:,}"

        try:
            yield note
        finally:
            self._lines.pop(place, None)

    def line(self, user_id: int, key: str) -> str:
        """Say at which page a file is; empty when nobody knows."""
        return self._lines.get((user_id, key[:MAX_KEY_CHARS]), "")
