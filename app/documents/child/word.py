"""DOCX files, by Mammoth, which makes HTML of them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from typing import Final

import mammoth

from app.documents.child.archive import Archive
from app.documents.child.text import Pages
from app.documents.child.web_page import to_markdown
from app.documents.protocol import PageRead

_BREAK: Final = "\ue0f8"
"""Stands for the end of a page from XML to Markdown."""
_RENDERED: Final = re.compile(rb"<w:lastRenderedPageBreak\s*/>")
_MANUAL: Final = re.compile(rb'<w:br\s[^>]*w:type="page"[^>]*/>')
_MARKED: Final = f"<w:t>{_BREAK}</w:t>".encode()
_DOCUMENT: Final = "word/document.xml"
_PAGES: Final = re.compile(rb"<Pages>([0-9]{1,5})</Pages>")
_STYLES: Final = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read headings, paragraphs, lists, tables and notes. Raises CannotRead.

    Word keeps where pages ended when it last showed them; other programs only say how many there
    were, and pages have no beginnings then.
    """
    archive = Archive(data)
    count = _page_count(archive)
    source = _mark_pages(archive, count)
    html = mammoth.convert_to_html(
        source,
        style_map=_STYLES,
        convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
        include_embedded_style_map=False,
        external_file_access=False,
    ).value
    texts = _split(to_markdown(html))
    if len(texts) > 1:
        found = Pages()
        for text in texts:
            found.add(text)
        return found
    return Pages(texts, unit=None, count=count)


def _page_count(archive: Archive) -> int:
    name = "docProps/app.xml"
    found = _PAGES.search(archive.read(name)) if name in archive.names else None
    return int(found[1]) if found else 0


def _mark_pages(archive: Archive, count: int) -> io.BytesIO:
    """Copy the document with marks where pages end, if it says where all of them do."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as copy:
        for name in sorted(archive.names):
            if name.endswith((".xml", ".rels")):
                part = archive.read(name)
                copy.writestr(name, _marked(part, count) if name == _DOCUMENT else part)
    packed.seek(0)
    return packed


def _marked(document: bytes, count: int) -> bytes:
    document = document.replace(_BREAK.encode(), b"")
    if _RENDERED.search(document):
        return _MANUAL.sub(_MARKED, _RENDERED.sub(_MARKED, document))
    if len(_MANUAL.findall(document)) + 1 == count > 1:
        return _MANUAL.sub(_MARKED, document)
    return document


def _split(text: str) -> list[str]:
    """Split Markdown into pages; a row of a table or a heading goes whole to the next one."""
    pages: list[list[str]] = [[]]
    for line in text.split("\n"):
        if _BREAK not in line:
            pages[-1].append(line)
        elif line.startswith(("|", "#")):
            pages.append([line.replace(_BREAK, "")])
        else:
            first, *others = line.split(_BREAK)
            pages[-1].append(first)
            pages.extend([other] for other in others)
    texts = ["\n".join(lines).strip() for lines in pages]
    return [text for place, text in enumerate(texts) if text or (not place and len(texts) == 1)]
