"""EPUB files: a chapter for each part of the book, in the order in which it is read."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from app.documents.child.archive import Archive
from app.documents.child.limits import CannotRead
from app.documents.child.text import Pages
from app.documents.child.web_page import to_markdown
from app.documents.protocol import PageRead

_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_PAGES: Final = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read the chapters. Raises CannotRead."""
    archive = Archive(data)
    names = _chapters(archive)
    if not names:
        raise CannotRead("damaged")
    if _ENCRYPTION in archive.names:
        locked = {unquote(one.get("URI", "")) for one in archive.xml(_ENCRYPTION).iter()}
        if locked.intersection(names):
            raise CannotRead("protected")
    found = Pages(unit="Chapter")
    for number, name in enumerate(names, start=1):
        text = to_markdown(archive.read(name))
        if text:
            found.add(text)
        notify(PageRead(number, len(names)))
    return found


def _chapters(archive: Archive) -> list[str]:
    """List the parts of the book as its spine does."""
    package = next(
        (path for one in archive.xml(_CONTAINER).iter() if (path := one.get("full-path"))), ""
    )
    root = archive.xml(package)
    folder = posixpath.dirname(package)
    parts = {
        one.get("id", ""): posixpath.normpath(
            posixpath.join(folder, unquote(one.get("href", "").partition("#")[0]))
        )
        for one in _named(root, "item")
        if one.get("media-type") in _PAGES
    }
    wanted = [parts.get(one.get("idref", "")) for one in _named(root, "itemref")]
    return [name for name in wanted if name and name in archive.names]


def _named(root: Element, name: str) -> list[Element]:
    """List elements of this name in any namespace."""
    return [one for one in root.iter() if one.tag.rpartition("}")[2] == name]
