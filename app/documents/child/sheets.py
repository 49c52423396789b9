"""Workbooks (XLSX, XLS, XLSB, ODS), by Calamine: a table for each sheet."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable

import python_calamine

from app.documents.child.archive import Archive
from app.documents.child.limits import CannotRead
from app.documents.child.text import Pages, table
from app.documents.protocol import MAX_PAGES, PageRead


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read the values of all sheets that are shown. Raises CannotRead."""
    if data.startswith(b"PK"):
        Archive(data)  # bounds, and what is encrypted
    try:
        book = python_calamine.load_workbook(io.BytesIO(data))
    except python_calamine.PasswordError:
        raise CannotRead("password") from None
    sheets = [one for one in book.sheets_metadata if _is_shown(one)]
    if len(sheets) > MAX_PAGES:
        raise CannotRead("pages")
    found = Pages(unit="Sheet")
    for number, sheet in enumerate(sheets, start=1):
        rows = book.get_sheet_by_name(sheet.name).to_python(skip_empty_area=True)
        found.add(f"# {sheet.name}\n\n{table([[_cell(one) for one in row] for row in rows])}")
        notify(PageRead(number, len(sheets)))
    if not any(text.partition("\n\n")[2] for text in found.texts):
        raise CannotRead("empty")
    return found


def _is_shown(sheet: python_calamine.SheetMetadata) -> bool:
    is_table = sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
    return is_table and sheet.visible == python_calamine.SheetVisibleEnum.Visible


def _cell(value: object) -> str:
    """Write a value as a person would: no .0, no time of day at midnight."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ").removesuffix(" 00:00:00")
    return str(value)
