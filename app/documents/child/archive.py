"""ZIP files with documents in them, read within bounds; and what old office files say."""

from __future__ import annotations

import io
import posixpath
import zipfile
from typing import Final
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from app.documents.child.limits import CannotRead
from app.documents.protocol import Reason

MAX_ENTRIES: Final = 20_000
MAX_PART_BYTES: Final = 128 << 20
MAX_TOTAL_BYTES: Final = 512 << 20
_RELATIONS: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_BY_FOLDER: Final = {"word/document": "docx", "ppt/presentation": "pptx", "xl/workbook": "sheet"}
_BY_MIMETYPE: Final = {
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.presentation": "odp",
    b"application/vnd.oasis.opendocument.spreadsheet": "sheet",
    b"application/epub+zip": "epub",
}
_ENCRYPTED: Final = 1


class Archive:
    """Parts of a ZIP file. Raises CannotRead for what is encrypted or blown up."""

    def __init__(self, data: bytes) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(data))
        entries = self._zip.infolist()
        self.names = frozenset(entry.filename for entry in entries)
        self._read = 0
        if len(entries) > MAX_ENTRIES or sum(e.file_size for e in entries) > MAX_TOTAL_BYTES:
            raise CannotRead("large")
        if any(entry.flag_bits & _ENCRYPTED for entry in entries):
            raise CannotRead("password")

    def read(self, name: str) -> bytes:
        """Read a part. Raises CannotRead."""
        if name not in self.names:
            raise CannotRead("damaged")
        with self._zip.open(name) as part:
            data = part.read(MAX_PART_BYTES + 1)
        self._read += len(data)
        if len(data) > MAX_PART_BYTES or self._read > MAX_TOTAL_BYTES:
            raise CannotRead("large")
        return data

    def xml(self, name: str) -> Element:
        """Read a part that is XML, without entities. Raises CannotRead."""
        return parse_xml(self.read(name))

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Map ids of an OOXML part's relations to their type and the name of their part."""
        folder, file = posixpath.split(name)
        path = f"{folder}/_rels/{file}.rels"
        if path not in self.names:
            return {}
        return {
            one.get("Id", ""): (
                one.get("Type", "").rpartition("/")[2],
                posixpath.normpath(posixpath.join(folder, one.get("Target", ""))).lstrip("/"),
            )
            for one in self.xml(path).iter(_RELATIONS)
        }


def parse_xml(data: bytes) -> Element:
    """Parse XML without entities and other files."""
    root: Element = ElementTree.fromstring(data)
    return root


def zip_kind(data: bytes) -> str | None:
    """The kind of document that a ZIP file says it is; None for another."""
    archive = Archive(data)
    if "mimetype" in archive.names:
        mimetype = archive.read("mimetype")[:100].strip()
        return _BY_MIMETYPE.get(mimetype.removesuffix(b"-template"))
    for start, kind in _BY_FOLDER.items():
        if any(name.startswith(start) for name in archive.names):
            return kind
    return None


def ole_reason(data: bytes) -> Reason | None:
    """Why an old office file has no text; None for a workbook, which can be read."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return "password"
    is_workbook = any(name.encode("utf-16-le") in data for name in ("Workbook", "Book"))
    return None if is_workbook else "old"
