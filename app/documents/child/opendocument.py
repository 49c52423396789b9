"""ODT and ODP files, as LibreOffice writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from xml.etree.ElementTree import Element

from app.documents.child.archive import Archive, parse_xml
from app.documents.child.limits import CannotRead
from app.documents.child.text import Pages, table
from app.documents.protocol import PageRead

_OFFICE: Final = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT: Final = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE: Final = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_DRAW: Final = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_STYLE: Final = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_FO: Final = "{urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0}"
_META: Final = "{urn:oasis:names:tc:opendocument:xmlns:meta:1.0}"
_PRESENTATION: Final = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
_BREAK: Final = "\ue0f8"
"""Stands for the end of a page."""
_LEFT_OUT: Final = frozenset(
    {
        *(f"{_TEXT}tracked-changes", f"{_OFFICE}annotation", f"{_OFFICE}forms"),
        *(f"{_TEXT}sequence-decls", f"{_TEXT}variable-decls", f"{_TEXT}note-citation"),
        *(f"{_TEXT}index-title-template", f"{_TEXT}table-of-content-source"),
    }
)
_FURNITURE: Final = frozenset({"page-number", "footer", "date-time", "header"})
_MAX_SPACES: Final = 100


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read text by pages, or slides. Raises CannotRead."""
    if data.startswith(b"PK"):
        archive = Archive(data)
        _check_encryption(archive)
        content, about = archive.xml("content.xml"), None
        if "meta.xml" in archive.names:
            about = archive.xml("meta.xml")
    else:
        content = about = parse_xml(data)
    slides = next(content.iter(f"{_OFFICE}presentation"), None)
    if slides is not None:
        return _read_slides(slides, notify)
    body = next(content.iter(f"{_OFFICE}text"), None)
    if body is None:
        raise CannotRead("damaged")
    return _read_text(content, body, _page_count(about))


def _check_encryption(archive: Archive) -> None:
    manifest = "META-INF/manifest.xml"
    if manifest in archive.names and b"encryption-data" in archive.read(manifest):
        raise CannotRead("password")


def _page_count(about: Element | None) -> int:
    found = None if about is None else next(about.iter(f"{_META}document-statistic"), None)
    count = "" if found is None else found.get(f"{_META}page-count", "")
    return int(count) if count.isdecimal() and len(count) < 6 else 0


def _read_text(content: Element, body: Element, count: int) -> Pages:
    """Split text where its program showed ends of pages, if it kept all of them."""
    breaking = {
        style.get(f"{_STYLE}name", "")
        for style in content.iter(f"{_STYLE}style")
        for properties in style
        if properties.get(f"{_FO}break-before") == "page"
    }
    text = "\n\n".join(block for block in _blocks(body, breaking) if block.strip())
    texts = [one.strip() for one in text.split(_BREAK)]
    texts = [one for place, one in enumerate(texts) if one or place]
    if len(texts) != count or count < 2:
        return Pages([text.replace(_BREAK, "")], unit=None, count=count)
    found = Pages()
    for one in texts:
        found.add(one)
    return found


def _read_slides(slides: Element, notify: Callable[[PageRead], None]) -> Pages:
    pages, found = [*slides.iter(f"{_DRAW}page")], Pages(unit="Slide")
    for number, page in enumerate(pages, start=1):
        text = "\n\n".join(block for block in _shapes(page) if block.strip())
        if not text and next(page.iter(f"{_DRAW}image"), None) is not None:
            found.textless.append(number)
        found.add(text.replace(_BREAK, ""))
        notify(PageRead(number, len(pages)))
    return found


def _shapes(page: Element) -> Iterator[str]:
    for shape in page:
        if shape.tag == f"{_PRESENTATION}notes":
            notes = "\n\n".join(block for block in _blocks(shape, set()) if block.strip())
            yield f"Notes: {notes}" if notes else ""
            continue
        blocks = [block for block in _blocks(shape, set()) if block.strip()]
        if shape.get(f"{_PRESENTATION}class") == "title" and blocks:
            blocks = [f"# {' '.join(blocks)}"]
        yield from blocks


def _blocks(element: Element, breaking: set[str], depth: int = 0) -> Iterator[str]:
    """Write blocks in Markdown. breaking: names of styles that begin a page."""
    for child in element:
        if child.tag in _LEFT_OUT or child.get(f"{_PRESENTATION}class") in _FURNITURE:
            continue
        start = _BREAK if child.get(f"{_TEXT}style-name") in breaking else ""
        if child.tag == f"{_TEXT}h":
            level = child.get(f"{_TEXT}outline-level", "1")
            hashes = "#" * min(6, int(level) if level.isdecimal() else 1)
            text = _inline(child).strip()
            yield f"{start}{hashes} {text}" if text else start
        elif child.tag == f"{_TEXT}p":
            yield start + _inline(child)
        elif child.tag == f"{_TEXT}list":
            yield _list(child, breaking, depth)
        elif child.tag == f"{_TABLE}table":
            yield table([*_rows(child)])
        elif child.tag == f"{_TEXT}soft-page-break":
            yield _BREAK
        else:
            yield from _blocks(child, breaking, depth)


def _list(element: Element, breaking: set[str], depth: int) -> str:
    lines = []
    for item in element:
        blocks = [block for block in _blocks(item, breaking, depth + 1) if block.strip()]
        for place, block in enumerate(blocks):
            is_nested = block.lstrip().startswith("- ")
            lines.append(block if is_nested or place else f"{'  ' * depth}- {block}")
    return "\n".join(lines)


def _rows(element: Element) -> Iterator[list[str]]:
    for row in element.iter(f"{_TABLE}table-row"):
        yield [
            " ".join(_blocks(cell, set())).replace(_BREAK, "")
            for cell in row
            if cell.tag == f"{_TABLE}table-cell"
        ]


def _inline(element: Element) -> str:
    """Write the text of a paragraph: its spaces, tabs, notes, and what stands in its frames."""
    parts = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}s":
            count = child.get(f"{_TEXT}c", "1")
            parts.append(" " * min(_MAX_SPACES, int(count) if count.isdecimal() else 1))
        elif child.tag in {f"{_TEXT}tab", f"{_TEXT}line-break"}:
            parts.append("\t" if child.tag.endswith("tab") else "\n")
        elif child.tag == f"{_TEXT}soft-page-break":
            parts.append(_BREAK)
        elif child.tag == f"{_TEXT}note":
            parts.append(f" ({_inline(child).strip()})")
        elif child.tag not in _LEFT_OUT:
            parts.append(_inline(child))
        parts.append(child.tail or "")
    return "".join(parts)
