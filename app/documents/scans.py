"""Text of pages that are pictures: drawn in a disposable process, and read by a recognizer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import msgspec

from app.documents.child_process import ChildProcess
from app.documents.document import Document, Notify, textless_note
from app.documents.pages import join_pages, list_numbers, split_pages
from app.documents.protocol import PagePicture, PageRead

COMMAND: Final = (sys.executable, "-m", "app.documents.child.page_pictures")
MAX_SCANNED_PAGES: Final = 100
"""Pages of one document that are recognized: some seconds each."""
MAX_PICTURE_BYTES: Final = 20 << 20

Recognize = Callable[[bytes], Awaitable[str]]
"""Reads the text in a picture. Raises MediaError."""


async def fill_scans(
    document: Document, data: bytes, recognize: Recognize, notify: Notify
) -> Document:
    """Recognize the pages without text. Raises what `recognize` does."""
    wanted = document.textless[:MAX_SCANNED_PAGES]
    pages, found = split_pages(document.text), dict[int, str]()
    async with aclosing(draw_pages(data, wanted)) as pictures:
        async for number, picture in pictures:
            notify(PageRead(number, document.pages))
            found[number] = (await recognize(picture)).strip()
    text = join_pages(found.get(number) or text for number, text in pages)
    left = tuple(number for number in document.textless if not found.get(number))
    notes = _recognized_note(found), textless_note(left, document.pages, "pdf")
    return replace(document, text=text, textless=left, note=" ".join(filter(None, notes)))


def _recognized_note(found: dict[int, str]) -> str:
    numbers = [number for number, text in found.items() if text]
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f"The text of page {numbers[0]:,} was recognized in a picture."
    return f"The text of pages {list_numbers(numbers)} was recognized in pictures."


async def draw_pages(
    data: bytes, numbers: Sequence[int]
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Draw pages of a PDF one after the other, as they are taken; none after a page that fails."""
    command = (*COMMAND, *map(str, numbers))
    async with ChildProcess.started(command, data) as child:
        for wanted in numbers:
            try:
                header = msgspec.json.decode(await child.readline(), type=PagePicture)
                if header.number != wanted or not 0 < header.size <= MAX_PICTURE_BYTES:
                    return
                picture = await child.read(header.size)
            except (msgspec.DecodeError, ValueError, asyncio.IncompleteReadError):
                return  # it died, or was broken into
            yield wanted, picture
