"""Sources of an answer: the passages that its model was given of files that did not fit."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class SourceFile(msgspec.Struct, frozen=True):
    """A file that was searched. digest: of its bytes; pages: how many it has, 0 when nobody knows;
    passages: how many it was cut into."""

    name: str
    digest: str
    pages: int = 0
    passages: int = 0
    unit: str = "page"


class SourcePassage(msgspec.Struct, frozen=True):
    """A passage that was given. file: which of the files; number: its place there, from 0."""

    file: int
    number: int
    page: int
    text: str


class Sources(msgspec.Struct, frozen=True):
    """Files that were searched, and the passages of them that were given, in their order."""

    files: tuple[SourceFile, ...] = ()
    passages: tuple[SourcePassage, ...] = ()

    def of(self, file: int) -> list[SourcePassage]:
        return [passage for passage in self.passages if passage.file == file]

    def only(self, digests: set[str]) -> Sources:
        """The passages of these files alone."""
        kept = {n for n, file in enumerate(self.files) if file.digest in digests}
        return Sources(self.files, tuple(p for p in self.passages if p.file in kept))


def describe_sources(sources: Sources) -> str:
    """Say how much of the searched files a model was given: 12 of 310 pages were given."""
    parts = list[str]()
    for number, file in enumerate(sources.files):
        given = sources.of(number)
        count, total, unit = len(given), file.passages, "passage"
        if file.pages:
            count, total, unit = given_pages(given), file.pages, file.unit
        name = f" of {file.name}" if len(sources.files) > 1 else ""
        verb = "was" if count == 1 else "were"
        parts.append(f"{count:,} of {total:,} {unit}s{name} {verb} given")
    return ", ".join(parts)


def encode_sources(sources: Sources | None) -> str | None:
    return None if sources is None else msgspec.json.encode(sources).decode()


def decode_sources(stored: str | None) -> Sources | None:
    """Read what is stored; nothing of what an import has damaged."""
    if not stored:
        return None
    try:
        found = msgspec.json.decode(stored, type=Sources)
    except msgspec.DecodeError:
        return None
    is_sound = all(0 <= passage.file < len(found.files) for passage in found.passages)
    return found if is_sound else None


def given_pages(passages: Sequence[SourcePassage]) -> int:
    """Count the pages that these passages are on."""
    return len({passage.page for passage in passages if passage.page})
