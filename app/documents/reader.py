"""Documents that users bring, read in a disposable process each (`app/documents/child`)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import msgspec

from app.documents.child_process import ChildProcess
from app.documents.document import Document, Notify, textless_note
from app.documents.kinds import MEDIA_TYPES, OLD_KINDS, Kind, ending_of, kind_of
from app.documents.protocol import (
    MAX_PAGES,
    MAX_TEXT_CHARS,
    DocumentRead,
    PageRead,
    Reason,
    Unreadable,
)
from app.documents.scans import fill_scans
from app.errors import AttachmentRefused, MediaError, RequestError

log = logging.getLogger(__name__)
COMMAND: Final = (sys.executable, "-m", "app.documents.child.main")
MAX_DOCUMENT_BYTES: Final = 50 << 20
WALL_SECONDS: Final = 180.0
MAX_RESULT_BYTES: Final = MAX_TEXT_CHARS * 4 + (1 << 20)
READ_AT_ONCE: Final = 2
"""Processes: each takes up to 1.5 GB, for a moment."""

Hold = Callable[[], contextlib.AbstractAsyncContextManager[None]]
NOT_SET_UP: Final = "Reading the text in pictures isn't set up here."


class Recognizer(Protocol):
    """What reads the text in pictures."""

    @property
    def can_recognize(self) -> bool: ...

    async def recognize(self, picture: bytes, user_id: int) -> str: ...


class DocumentReader:
    """Reads documents, a few at a time, each in a process of its own. hold: keeps a thread free
    for each process."""

    def __init__(
        self, recognizer: Recognizer | None = None, hold: Hold = contextlib.nullcontext
    ) -> None:
        """recognizer: reads pages that are pictures."""
        self._hold = hold
        self._turn = asyncio.Semaphore(READ_AT_ONCE)
        self._recognizer = recognizer

    async def read(
        self, name: str, data: bytes, notify: Notify = lambda _: None, user_id: int = 0
    ) -> Document:
        """Read a document of this user; `notify` hears of its pages.

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
        document = Document(text, media_type, header.pages, header.textless, note)
        is_scan = header.kind == "pdf" and header.textless
        return await self._scanned(document, data, notify, user_id) if is_scan else document

    async def _scanned(
        self, document: Document, data: bytes, notify: Notify, user_id: int
    ) -> Document:
        """Recognize the pages without text, where that is set up."""
        recognizer = self._recognizer
        if recognizer is None or not recognizer.can_recognize:
            return replace(document, note=f"{document.note} {NOT_SET_UP}")
        try:
            recognize = functools.partial(recognizer.recognize, user_id=user_id)
            return await fill_scans(document, data, recognize, notify)
        except (MediaError, RequestError) as error:
            return replace(document, note=f"{document.note} {error}")


async def _run(
    kind: Kind | None, data: bytes, notify: Notify
) -> tuple[DocumentRead | Unreadable, str]:
    try:
        async with ChildProcess.started((*COMMAND, kind or "any"), data) as child:
            async with asyncio.timeout(WALL_SECONDS):
                return await _result(child, notify)
    except TimeoutError:
        return Unreadable("memory"), ""


async def _result(child: ChildProcess, notify: Notify) -> tuple[DocumentRead | Unreadable, str]:
    """Follow what the process says, which is not trusted."""
    for _ in range(MAX_PAGES + 1):
        try:
            line = msgspec.json.decode(
                await child.readline(), type=PageRead | DocumentRead | Unreadable
            )
        except (msgspec.DecodeError, ValueError):  # it died, or was broken into
            break
        if isinstance(line, PageRead):
            notify(line)
        elif isinstance(line, Unreadable):
            return line, ""
        else:
            return await _text(child, line)
    log.warning("The process that read a document ended without a result.")
    return Unreadable("memory"), ""


async def _text(child: ChildProcess, header: DocumentRead) -> tuple[DocumentRead | Unreadable, str]:
    is_sound = 0 <= header.size <= MAX_RESULT_BYTES and 0 <= header.pages <= MAX_PAGES * 10
    try:
        data = await child.read(header.size if is_sound else 0)
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
