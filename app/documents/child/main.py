"""Reads one document: `python -m app.documents.child.main KIND < FILE > RESULT`.

A hostile file may break a library, take all memory or never end, so this is a process for one file,
with bounds on memory and time. RESULT is what `app/documents/protocol.py` says. KIND is what the
file's name says, or `any`; ZIP files also say themselves what they are.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, Final

import defusedxml
import msgspec

from app.documents.child.archive import ole_reason, zip_kind
from app.documents.child.limits import CannotRead, confine
from app.documents.child.text import Pages
from app.documents.kinds import Kind
from app.documents.protocol import (
    MAX_TEXT_CHARS,
    DocumentRead,
    PageRead,
    Reason,
    Unreadable,
)

READERS: Final[dict[Kind, str]] = {
    "pdf": "pdf",
    "docx": "word",
    "pptx": "slides",
    "sheet": "sheets",
    "odt": "opendocument",
    "odp": "opendocument",
    "epub": "book",
    "rtf": "rich_text",
    "html": "web_page",
    "eml": "mail",
}
"""Modules of this package, each with a function `read`."""
_SPACES: Final = re.compile(r"[ \t\u00a0]+(?=\n)")
_GAPS: Final = re.compile(r"\n{3,}")
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


def main() -> None:
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native code may print
    confine()
    kind, data = sys.argv[1], sys.stdin.buffer.read()
    reading = threading.Thread(target=lambda: answer(kind, data, result))  # for its larger stack
    reading.start()
    reading.join()
    result.flush()
    os._exit(0)  # libraries have nothing to clear away, and might fail at that


def answer(kind: str, data: bytes, result: BinaryIO) -> None:
    """Read a document, whatever is in it, and write what came of it."""
    text = b""
    header: DocumentRead | Unreadable
    try:
        found = recognize(kind, data)
        read = read_document(found, data, lambda done: _write(result, done))
        text = clean(read.text()).encode()
        header = DocumentRead(found, len(text), read.count, tuple(read.textless))
    except (Exception, RecursionError) as error:  # libraries raise a hundred kinds
        header = Unreadable(reason_of(error))
    _write(result, header)
    if isinstance(header, DocumentRead):
        result.write(text)


def _write(result: BinaryIO, line: PageRead | DocumentRead | Unreadable) -> None:
    result.write(msgspec.json.encode(line) + b"\n")
    result.flush()


def reason_of(error: BaseException) -> Reason:
    if isinstance(error, CannotRead):
        return error.reason
    if isinstance(error, MemoryError):
        return "memory"
    return "damaged"


def recognize(kind: str, data: bytes) -> Kind:
    """The kind of a document, which ZIP files say themselves. Raises CannotRead."""
    if data.startswith(b"PK"):
        kind = zip_kind(data) or kind
    is_old = data.startswith(b"\xd0\xcf\x11\xe0")
    if is_old and (reason := ole_reason(data)):
        raise CannotRead(reason)
    if kind not in READERS:
        raise CannotRead("old")
    return kind


def read_document(kind: Kind, data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read a document of this kind. Raises CannotRead."""
    defusedxml.defuse_stdlib()  # no library here is to resolve entities
    reader = importlib.import_module(f"app.documents.child.{READERS[kind]}")
    read: Pages = reader.read(data, notify)
    if sum(map(len, read.texts)) > MAX_TEXT_CHARS:
        raise CannotRead("large")
    if not any(text.strip() for text in read.texts) and not read.textless:
        raise CannotRead("empty")
    return read


def clean(text: str) -> str:
    """Drop control characters, spaces before ends of lines, and empty lines beyond one."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _GAPS.sub("\n\n", _SPACES.sub("", _CONTROL.sub("", text)))


if __name__ == "__main__":
    main()
