"""Passages: a document cut into pieces of some 250 tokens, at its headings and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.documents.pages import split_pages

TARGET_BYTES: Final = 900
"""Of a passage: 250 tokens in most languages."""
MAX_BYTES: Final = 1300
MAX_HEADING_CHARS: Final = 200
MAX_HEADINGS: Final = 3
_BLOCK: Final = re.compile(r"\n[ \t]*\n+")
_HEADING: Final = re.compile(r"[ \t]*(#{1,6})[ \t]+(.+)")
_ENDS: Final = tuple(
    re.compile(pattern) for pattern in (r"\n", r"(?<=[.!?…:;])\s+|(?<=[。！？；।])", r"\s+")
)
"""Where a long block is cut: at lines, else at sentences, else at words."""
SPACELESS: Final = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u30ff\u3400-\u9fff"
    "\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Runs of scripts in which words have no spaces between them, or endings that grow on to them."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document. page: 0 where there are none; heading: those that it stands under."""

    page: int
    heading: str
    text: str


def cut_passages(text: str) -> Iterator[Passage]:
    """Cut a text with page marks. The passages of a page, joined, are its whole text."""
    headings: list[tuple[int, str]] = []
    for page, content in split_pages(text):
        yield from _cut_page(page, content, headings)


def _cut_page(page: int, content: str, headings: list[tuple[int, str]]) -> Iterator[Passage]:
    held, size, under = "", 0, _joined(headings)
    for block in _blocks(content):
        level = _HEADING.match(block)
        length = len(block.encode())
        if held and (size + length > TARGET_BYTES or (level and size > TARGET_BYTES // 3)):
            yield Passage(page, under, held)
            held, size = "", 0
        if level:
            _enter(headings, len(level[1]), level[2])
        if not held:
            under = _joined(headings)
        held, size = held + block, size + length
    if held.strip():
        yield Passage(page, under, held)


def _blocks(content: str) -> Iterator[str]:
    """Paragraphs with the white space behind them; long ones in parts."""
    for block in _split_behind(_BLOCK, content):
        yield from _parts(block, 0)


def _parts(block: str, level: int) -> Iterator[str]:
    if len(block.encode()) <= MAX_BYTES:
        yield block
    elif level == len(_ENDS):
        step = MAX_BYTES // 4
        yield from (block[at : at + step] for at in range(0, len(block), step))
    else:
        held = ""
        for part in _split_behind(_ENDS[level], block):
            if held and len(held.encode()) + len(part.encode()) > TARGET_BYTES:
                yield from _parts(held, level + 1)
                held = ""
            held += part
        yield from _parts(held, level + 1)


def _split_behind(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Split a text behind what matches; nothing of it is lost."""
    start = 0
    for found in pattern.finditer(text):
        if found.end() > start:
            yield text[start : found.end()]
            start = found.end()
    if start < len(text):
        yield text[start:]


def _enter(headings: list[tuple[int, str]], level: int, title: str) -> None:
    while headings and headings[-1][0] >= level:
        headings.pop()
    headings.append((level, title.strip("# \t").strip()[:MAX_HEADING_CHARS]))


def _joined(headings: list[tuple[int, str]]) -> str:
    return " › ".join(title for _, title in headings[-MAX_HEADINGS:])


def grams_of(text: str) -> list[str]:
    """Each two signs that follow each other in what is written without spaces."""
    return [
        run[at : at + 2] for run in SPACELESS.findall(text) for at in range(max(1, len(run) - 1))
    ]
