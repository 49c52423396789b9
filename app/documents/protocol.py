"""What the child that reads documents writes: lines of JSON, and behind the last the text."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from app.documents.kinds import Kind

MAX_TEXT_CHARS: Final = 4_000_000
"""Characters of one document: about 1,300 pages."""
MAX_PAGES: Final = 10_000
Reason = Literal["damaged", "password", "protected", "large", "pages", "empty", "memory", "old"]


class PageRead(msgspec.Struct, tag="page", frozen=True):
    """A page was read, one of `count`."""

    number: int
    count: int


class PagePicture(msgspec.Struct, tag="picture", frozen=True):
    """A page was drawn. size: bytes of the picture that follows."""

    number: int
    size: int


class DocumentRead(msgspec.Struct, tag="document", frozen=True):
    """All was read. kind: what the file is; size: bytes of the text that follows; pages: 0 when it
    has none, or nobody knows; textless: numbers of those pages that have pictures but no text."""

    kind: Kind
    size: int
    pages: int = 0
    textless: tuple[int, ...] = ()


class Unreadable(msgspec.Struct, tag="unreadable", frozen=True):
    """Why there is no text."""

    reason: Reason
