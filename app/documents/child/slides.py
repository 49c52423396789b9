"""PPTX files: titles, text, tables and notes of the slides that are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from xml.etree.ElementTree import Element

from app.documents.child.archive import Archive
from app.documents.child.limits import CannotRead
from app.documents.child.text import Pages, table
from app.documents.protocol import PageRead

_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P: Final = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_ID: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_SHOW: Final = "ppt/presentation.xml"
_TITLES: Final = frozenset({"title", "ctrTitle"})
_FURNITURE: Final = frozenset({"sldNum", "dt", "ftr", "sldImg", "hdr"})
"""Placeholders with numbers, dates and footers."""


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read the slides in their order. Raises CannotRead."""
    archive = Archive(data)
    parts = archive.relations(_SHOW)
    slides = [parts.get(one.get(_ID, "")) for one in archive.xml(_SHOW).iter(f"{_P}sldId")]
    names = [part[1] for part in slides if part and part[1] in archive.names]
    if not names:
        raise CannotRead("damaged")
    found = Pages(unit="Slide")
    for number, name in enumerate(names, start=1):
        slide = archive.xml(name)
        text = _slide(archive, name, slide)
        if not text and next(slide.iter(f"{_P}pic"), None) is not None:
            found.textless.append(number)
        found.add(text)
        notify(PageRead(number, len(names)))
    return found


def _slide(archive: Archive, name: str, slide: Element) -> str:
    relations = archive.relations(name).values()
    parts = [*_shapes(slide)]
    for kind, part in relations:
        if kind == "diagramData" and part in archive.names:
            parts.append("\n".join(filter(None, _paragraphs(archive.xml(part), is_list=True))))
        elif kind == "notesSlide" and part in archive.names:
            notes = "\n\n".join(_shapes(archive.xml(part)))
            parts.append(f"Notes: {notes}" if notes else "")
    return "\n\n".join(part for part in parts if part.strip())


def _shapes(slide: Element) -> Iterator[str]:
    """Write what is on a slide, shape by shape: a title as a heading, a body as a list."""
    for shape in slide.iter():
        if shape.tag == f"{_A}tbl":
            rows = [
                [" ".join(_paragraphs(cell)) for cell in row.iter(f"{_A}tc")]
                for row in shape.iter(f"{_A}tr")
            ]
            yield table(rows)
        elif shape.tag == f"{_P}sp":
            place = next(shape.iter(f"{_P}ph"), None)
            kind = "" if place is None else place.get("type", "body")
            if kind in _TITLES:
                yield f"# {' '.join(_paragraphs(shape))}".rstrip("# ")
            elif kind not in _FURNITURE:
                yield "\n".join(filter(None, _paragraphs(shape, is_list=kind == "body")))


def _paragraphs(shape: Element, *, is_list: bool = False) -> list[str]:
    """Write the paragraphs in a shape; those of a list behind dashes, by their level."""
    found = []
    for paragraph in shape.iter(f"{_A}p"):
        text = "".join(
            " " if one.tag == f"{_A}br" else one.text or ""
            for one in paragraph.iter()
            if one.tag in {f"{_A}t", f"{_A}br"}
        )
        properties = paragraph.find(f"{_A}pPr")
        level = properties.get("lvl", "0") if properties is not None else "0"
        indent = "  " * int(level) if level.isdecimal() and len(level) == 1 else ""
        found.append(f"{indent}- {text}" if is_list and text.strip() else text.strip())
    return found
