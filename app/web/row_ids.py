"""Numbers in addresses: a row of the database, so none that the database could not hold."""

from __future__ import annotations

from typing import Final

from werkzeug.routing import IntegerConverter, Map

MAX_ROW_ID: Final = (1 << 63) - 1


class RowId(IntegerConverter):
    """Converter `<int:…>` of routes: what is larger is an address that nothing has."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map, max=MAX_ROW_ID)


def row_id(text: str) -> int:
    """The number in a query. Raises ValueError, so that `args.get` takes it for none."""
    number = int(text)
    if not -MAX_ROW_ID <= number <= MAX_ROW_ID:
        raise ValueError("no row has this number")
    return number
