"""PDF files, by PDFium."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pypdfium2
import pypdfium2.raw as pdfium

from app.documents.child.limits import CannotRead
from app.documents.child.text import Pages
from app.documents.protocol import MAX_PAGES, PageRead

_SPLIT_WORD: Final = re.compile(r"(?:\ufffe|\x02|\u00ad)\r?\n?")
"""A hyphen at the end of a line, as PDFium marks it."""
_PICTURES: Final = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_PATH)
MAX_OBJECTS: Final = 2000
"""Objects of a page that are looked at for pictures."""


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read the text of all pages. Raises CannotRead."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        is_locked = error.err_code == pdfium.FPDF_ERR_PASSWORD
        raise CannotRead("password" if is_locked else "damaged") from None
    found, count = Pages(), len(document)
    if count > MAX_PAGES:
        raise CannotRead("pages")
    if not count:
        raise CannotRead("damaged")
    for number in range(1, count + 1):
        page = document[number - 1]
        text = page_text(page)
        if not text.strip() and _has_pictures(page):
            found.textless.append(number)
        found.add(text)
        page.close()
        notify(PageRead(number, count))
    return found


def page_text(page: pypdfium2.PdfPage) -> str:
    """The text of a page in the order in which it was written; words that lines cut are whole."""
    content = page.get_textpage()
    text: str = content.get_text_range()
    content.close()
    return _SPLIT_WORD.sub("", text)


def _has_pictures(page: pypdfium2.PdfPage) -> bool:
    """Tell whether something is drawn on a page."""
    objects = page.get_objects(filter=_PICTURES, max_depth=3)
    return any(True for _, _one in zip(range(MAX_OBJECTS), objects, strict=False))
