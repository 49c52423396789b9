"""The shelf and the catalogue as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from app.models.catalogue import Source
from app.models.model import Model


def shelf_table(models: Iterable[Model]) -> Table:
    table = _table(("Name", "Title"), ("Weights", "Stored as", "Context", "Size"))
    for model in models:
        table.add_row(
            model.name,
            model.title,
            f"{model.parameters / 1e6:,.0f} M",
            model.quantisation,
            f"{model.context_length:,}",
            f"{model.size / 1e6:,.0f} MB",
        )
    return table


def catalogue_table(entries: Iterable[Source]) -> Table:
    table = _table(("Name", "Good for", "Licence"), ("Weights", "Download"))
    for entry in entries:
        table.add_row(
            entry.name,
            f"{entry.title}. {entry.about}",
            entry.license,
            entry.parameters,
            f"{entry.size / 1e6:,.0f} MB",
        )
    return table


def _table(words: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table()
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table
