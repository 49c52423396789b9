"""Kinds of documents: recognized by their first bytes, or by their names."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, Literal

from app.documents.pages import Unit

Kind = Literal["pdf", "docx", "pptx", "sheet", "odt", "odp", "epub", "rtf", "html", "eml"]
KINDS_BY_ENDING: Final[dict[str, Kind]] = {
    "pdf": "pdf",
    **dict.fromkeys(("docx", "docm", "dotx"), "docx"),
    **dict.fromkeys(("pptx", "pptm", "ppsx"), "pptx"),
    **dict.fromkeys(("xlsx", "xlsm", "xlsb", "xls", "ods"), "sheet"),
    **dict.fromkeys(("odt", "ott", "fodt"), "odt"),
    **dict.fromkeys(("odp", "fodp"), "odp"),
    "epub": "epub",
    "rtf": "rtf",
    **dict.fromkeys(("html", "htm", "xhtml"), "html"),
    "eml": "eml",
}
UNITS: Final[dict[Kind, Unit]] = {
    "pptx": "Slide",
    "odp": "Slide",
    "sheet": "Sheet",
    "epub": "Chapter",
}
MEDIA_TYPES: Final[dict[Kind, str]] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "sheet": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "epub": "application/epub+zip",
    "rtf": "application/rtf",
    "html": "text/html",
    "eml": "message/rfc822",
}
OLD_KINDS: Final = {
    "doc": "DOCX", "dot": "DOCX", "wps": "DOCX", "wpd": "DOCX", "pages": "DOCX", "ppt": "PPTX",
    "pps": "PPTX", "key": "PPTX", "numbers": "XLSX", "mobi": "EPUB", "azw3": "EPUB", "djvu": "PDF",
    "msg": "EML", "ps": "PDF", "xps": "PDF",
}  # fmt: skip
"""Endings of files that Wick can't read, and the kind to save them as."""
_ZIP, _OLE, _RTF, _PDF = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"{\\rtf", b"%PDF-"
_PDF_WITHIN: Final = 1024
"""Bytes in which programs look for the beginning of a PDF."""


def ending_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def is_document(name: str, data: bytes) -> bool:
    """Tell whether a file is to be read as a document, rather than as plain text."""
    ending = ending_of(name)
    if ending in KINDS_BY_ENDING or ending in OLD_KINDS:
        return True
    return data.startswith((_ZIP, _OLE, _RTF)) or _PDF in data[:_PDF_WITHIN]


def kind_of(name: str, data: bytes) -> Kind | None:
    """The kind of a document, as far as its first bytes say; of a ZIP or OLE file its name does."""
    if _PDF in data[:_PDF_WITHIN]:
        return "pdf"
    if data.startswith(_RTF):
        return "rtf"
    named = KINDS_BY_ENDING.get(ending_of(name))
    return None if named in {"pdf", "rtf"} else named


def unit_of(media_type: str) -> Unit:
    """What the pages of documents of this type are called."""
    kind = next((kind for kind, one in MEDIA_TYPES.items() if one == media_type), None)
    return UNITS.get(kind, "Page") if kind else "Page"


def count_pages(pages: int, media_type: str) -> str:
    """Write how many pages a document has: 31 pages, 1 slide."""
    unit = unit_of(media_type).lower()
    return f"{pages:,} {unit}{'' if pages == 1 else 's'}"
