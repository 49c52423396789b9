"""The shelf and the catalogue as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from app.cli.model_report import ModelStatus
from app.config import Settings
from app.models import memory
from app.models.catalogue import CatalogueEntry
from app.models.figures import format_bytes, format_parameters
from app.models.model import Model

GAP: Final = 2
EDGES: Final = 2
NAME_WIDTH: Final = 20
WORDS_WIDTH: Final = 10
"""Characters of a line that a full column of names, and one of other words, has at least."""


@dataclass(frozen=True, slots=True)
class Column:
    """`rank`: the column of the highest goes first where there is no room for all; 0: never."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    is_number: bool = False
    width: int = WORDS_WIDTH

    @property
    def least(self) -> int:
        """Characters of a line that it cannot do without."""
        return self.longest if self.is_number else min(self.longest, self.width)

    @property
    def longest(self) -> int:
        return max(map(len, (self.heading, *self.cells)))


def models_table(
    models: Iterable[Model],
    settings: Settings,
    default: str,
    report: Mapping[str, ModelStatus] | None = None,
    *,
    width: int = 80,
) -> Table:
    """default: the model that new chats begin with, which is marked; report: a server's own."""
    models = list(models)
    columns = [
        Column("Name", [_name(model, default) for model in models], width=NAME_WIDTH),
        Column("Title", [_plain(model.title) for model in models], 1),
        Column("Licence", [_plain(model.license or "") for model in models], 4),
        _numbers("Weights", [format_parameters(model.parameters) for model in models], 3),
        _numbers("Stored", [_plain(model.quantisation) for model in models], 2),
        _numbers("Context", [f"{model.context_length:,}" for model in models]),
        _numbers("Size", [format_bytes(model.size) for model in models]),
        _numbers(
            "Memory", [format_bytes(memory.preferred_bytes(model, settings)) for model in models]
        ),
    ]
    if report is not None:
        now = [_live(report.get(model.name)) for model in models]
        columns += [
            Column("Now", [state for state, _ in now]),
            _numbers("Speed", [speed for _, speed in now]),
        ]
    return _table(columns, width)


def _live(now: ModelStatus | None) -> tuple[str, str]:
    """Its state, and how many tokens a second its latest answers came with."""
    if now is None:
        return "", ""
    return _plain(now.line), f"{now.speed:,.0f} tok/s" if now.speed else ""


def remote_table(
    models: Iterable[Model],
    default: str,
    report: Mapping[str, ModelStatus] | None = None,
    *,
    width: int = 80,
) -> Table:
    """Those of `models` that other servers hold, a line for each server."""
    held = [(m, upstream) for m in models if m.remote for upstream in m.remote.upstreams]
    columns = [
        Column("Name", [_name(model, default) for model, _ in held], width=NAME_WIDTH),
        Column("Title", [_plain(model.title) for model, _ in held], 2),
        Column("Server", [_plain(upstream.url) for _, upstream in held], width=NAME_WIDTH),
        Column("Model there", [_plain(up.model) for _, up in held], width=NAME_WIDTH),
        Column("Key in", [upstream.key_env for _, upstream in held], 1),
        _numbers("Context", [f"{model.context_length:,}" for model, _ in held]),
        _numbers("At once", [f"{upstream.parallel}" for _, upstream in held], 3),
    ]
    if report is not None:
        columns.append(Column("Now", [_live(report.get(model.name))[0] for model, _ in held]))
    return _table(columns, width)


def catalogue_table(entries: Iterable[CatalogueEntry], *, width: int = 80) -> Table:
    entries = list(entries)
    columns = [
        Column("Name", [entry.name for entry in entries], width=NAME_WIDTH),
        Column("Good for", [_plain(f"{entry.title}. {entry.about}") for entry in entries]),
        Column("Licence", [_plain(entry.license) for entry in entries], 1),
        _numbers("Weights", [entry.parameters for entry in entries], 2),
        _numbers("Download", [format_bytes(entry.size) for entry in entries]),
    ]
    return _table(columns, width)


def _name(model: Model, default: str) -> str:
    return f"{model.name} *" if model.name == default else model.name


def _numbers(heading: str, cells: Sequence[str], rank: int = 0) -> Column:
    return Column(heading, cells, rank, is_number=True)


def _plain(text: str) -> str:
    """Words of a file, which are no commands to the terminal."""
    return "".join(c for c in text if c.isprintable())


def _table(columns: Sequence[Column], width: int) -> Table:
    """Of the columns for which a line of so many characters has room. Words fold, numbers do not,
    and what is long in one column takes nothing from another."""
    shown = _fitting(columns, width)
    left = width - _needed(shown)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    widths = []
    for column in reversed(shown):  # the name last: it may fold, and be copied all the same
        more = min(left, column.longest - column.least)
        left -= max(more, 0)
        widths.append(column.least + max(more, 0))
    for column, its_width in zip(shown, reversed(widths), strict=True):
        justify: JustifyMethod = "right" if column.is_number else "left"
        table.add_column(column.heading, justify=justify, width=its_width, overflow="fold")
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*map(Text, row))
    return table


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    shown = list(columns)
    while _needed(shown) > width:
        last = max(shown, key=lambda column: column.rank)
        if not last.rank:
            break
        shown.remove(last)
    return shown


def _needed(columns: Sequence[Column]) -> int:
    return EDGES + sum(column.least for column in columns) + GAP * (len(columns) - 1)
