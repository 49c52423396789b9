"""Documents that users bring, read in a disposable process each (`app/documents/child`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from app.config import confined_environment
from app.documents.kinds import MEDIA_TYPES, OLD_KINDS, UNITS, Kind, ending_of, kind_of
from app.documents.pages import list_numbers
from app.documents.protocol import (
    MAX_PAGES,
    MAX_TEXT_CHARS,
    DocumentRead,
    PageRead,
    Reason,
    Unreadable,
)
from app.errors import AttachmentRefused

log = logging.getLogger(__name__)
COMMAND: Final = (sys.executable, "-m", "app.documents.child.main")
MAX_DOCUMENT_BYTES: Final = 50 << 20
WALL_SECONDS: Final = 180.0
MAX_RESULT_BYTES: Final = MAX_TEXT_CHARS * 4 + (1 << 20)
MAX_LINE_BYTES: Final = 64 << 10
READ_AT_ONCE: Final = 2
"""Processes: each takes up to 1.5 GB, for a moment."""

Hold = Callable[[], contextlib.AbstractAsyncContextManager[None]]
Notify = Callable[[PageRead], None]


@dataclass(frozen=True, slots=True)
class Document:
    """Text of a document, with a mark before each page. pages: how many, 0 when nobody knows; note:
    what is missing in the text."""

    text: str
    media_type: str
    pages: int
    textless: tuple[int, ...] = ()
    note: str = ""


class DocumentReader:
    """Reads documents, a few at a time, each in a process of its own. hold: keeps a thread free
    for each process."""

    def __init__(self, hold: Hold = contextlib.nullcontext) -> None:
        self._hold = hold
        self._turn = asyncio.Semaphore(READ_AT_ONCE)

    async def read(self, name: str, data: bytes, notify: Notify = lambda _: None) -> Document:
        """Read a document; `notify` hears of its pages.

        Raises AttachmentRefused, a sentence that calls it by `name`.
        """
        if len(data) > MAX_DOCUMENT_BYTES:
            limit = MAX_DOCUMENT_BYTES >> 20
            raise AttachmentRefused(f"{name} is too large: the limit for documents is {limit} MB.")
        kind = kind_of(name, data)
        async with self._turn, self._hold():
            header, text = await _run(kind, data, notify)
        if isinstance(header, Unreadable):
            raise AttachmentRefused(explain(name, header.reason))
        note = textless_note(header.textless, header.pages, header.kind)
        media_type = MEDIA_TYPES[header.kind]
        return Document(text, media_type, header.pages, header.textless, note)


async def _run(
    kind: Kind | None, data: bytes, notify: Notify
) -> tuple[DocumentRead | Unreadable, str]:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, kind or "any"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=confined_environment(),
        limit=MAX_LINE_BYTES,
    )
    assert process.stdin is not None  # noqa: S101 - asked for pipes
    assert process.stdout is not None  # noqa: S101
    feeding = asyncio.create_task(_feed(process.stdin, data))
    try:
        async with asyncio.timeout(WALL_SECONDS):
            return await _result(process.stdout, notify)
    except TimeoutError:
        return Unreadable("memory"), ""
    finally:
        feeding.cancel()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        while await process.stdout.read(1 << 20):  # what it still held in its pipe
            pass
        await process.wait()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # it is dead, which the end of its result says too
        stdin.write(data)
        await stdin.drain()
    stdin.close()


async def _result(
    stdout: asyncio.StreamReader, notify: Notify
) -> tuple[DocumentRead | Unreadable, str]:
    """Follow what the process says, which is not trusted."""
    for _ in range(MAX_PAGES + 1):
        try:
            line = msgspec.json.decode(
                await stdout.readline(), type=PageRead | DocumentRead | Unreadable
            )
        except (msgspec.DecodeError, ValueError):  # it died, or was broken into
            break
        if isinstance(line, PageRead):
            notify(line)
        elif isinstance(line, Unreadable):
            return line, ""
        else:
            return await _text(stdout, line)
    log.warning("The process that read a document ended without a result.")
    return Unreadable("memory"), ""


async def _text(
    stdout: asyncio.StreamReader, header: DocumentRead
) -> tuple[DocumentRead | Unreadable, str]:
    is_sound = 0 <= header.size <= MAX_RESULT_BYTES and 0 <= header.pages <= MAX_PAGES * 10
    try:
        data = await stdout.readexactly(header.size if is_sound else 0)
        text = data.decode()
    except (asyncio.IncompleteReadError, UnicodeDecodeError):
        is_sound = False
    return (header, text) if is_sound else (Unreadable("memory"), "")


def explain(name: str, reason: Reason) -> str:
    """Say why a document cannot be read, and what to do."""
    if reason == "old":
        save_as = OLD_KINDS.get(ending_of(name))
        return (
            f"{name} is of a kind that Wick can't read. Save it as {save_as} first."
            if save_as
            else f"{name} is not a document that Wick can read."
        )
    return {
        "damaged": f"{name} is damaged, or not what its name says.",
        "password": f"{name} is locked with a password. Save a copy without one.",
        "protected": f"{name} is protected against copying, so Wick can't read it.",
        "large": f"{name} has too much text: the limit is {MAX_TEXT_CHARS:,} characters.",
        "pages": f"{name} has too many pages: the limit is {MAX_PAGES:,}.",
        "empty": f"{name} has no text.",
        "memory": f"{name} can't be read: it takes too much time or memory.",
    }[reason]


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
