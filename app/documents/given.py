"""Documents that an answer's model was given, and how much of each: kept with the answer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.documents.pages import Unit


class GivenDocument(msgspec.Struct, frozen=True):
    """pages: how many it has, 0 when nobody knows; given: how many of them the model was given."""

    name: str
    pages: int = 0
    given: int = 0
    unit: Unit = "Page"

    @property
    def is_whole(self) -> bool:
        return self.given >= self.pages

    def count(self) -> str:
        """Write what was given of it: 31 pages, or its name where it has none."""
        if not self.pages:
            return self.name
        whole = "" if self.is_whole else f"{self.given:,} of "
        return f"{whole}{self.pages:,} {self.unit.lower()}{'' if self.pages == 1 else 's'}"


def encode_given(documents: Sequence[GivenDocument]) -> str | None:
    return msgspec.json.encode(documents).decode() if documents else None


def decode_given(stored: str | None) -> tuple[GivenDocument, ...]:
    """Read what is stored; nothing of what an import has damaged."""
    try:
        return msgspec.json.decode(stored or "[]", type=tuple[GivenDocument, ...])
    except msgspec.DecodeError:
        return ()


def describe_given(documents: Sequence[GivenDocument]) -> str:
    """Say what the model was given: Read whole: 31 pages."""
    whole = [one for one in documents if one.is_whole]
    parts = [one for one in documents if not one.is_whole]
    sentences = []
    if len(documents) == 1 and whole:
        sentences.append(f"Read whole: {whole[0].count()}")
    elif whole:
        names = [f"{one.name} ({one.count()})" if one.pages else one.name for one in whole]
        sentences.append(f"Read whole: {', '.join(names)}")
    for one in parts:
        name = "" if len(documents) == 1 else f" of {one.name}"
        sentences.append(f"{one.count()}{name} were given")
    return ". ".join(sentences)
