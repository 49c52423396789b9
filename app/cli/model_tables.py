"""The shelf and the catalogue as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from app.cli.model_report import Reported
from app.config import Settings
from app.models import memory
from app.models.catalogue import Source
from app.models.figures import count, size
from app.models.model import Model

LONG_NAME: Final = 20


def shelf_table(
    models: Iterable[Model],
    settings: Settings,
    default: str,
    report: Mapping[str, Reported] | None = None,
) -> Table:
    """default: the model that new chats begin with, which is marked; report: a server's own."""
    numbers = ("Weights", "Stored", "Context", "Size", "Memory")
    live = () if report is None else ("Now", "Speed")
    table = _table(("Name", "Title", "Licence"), (*numbers, *live))
    models = list(models)
    # Names are there to be copied; only very long ones are cut into lines.
    table.columns[0].no_wrap = all(len(model.name) <= LONG_NAME for model in models)
    for model in models:
        table.add_row(
            f"{model.name} *" if model.name == default else model.name,
            _plain(model.title),
            _plain(model.license or ""),
            count(model.parameters),
            _plain(model.quantisation),
            f"{model.context_length:,}",
            size(model.size),
            size(memory.wanted(model, settings)),
            *(() if report is None else _live(report.get(model.name))),
        )
    return table


def _live(now: Reported | None) -> tuple[str, str]:
    """Its state, and how many tokens a second its latest answers came with."""
    if now is None:
        return "", ""
    return _plain(now.line), f"{now.speed:,.0f} tok/s" if now.speed else ""


def remote_table(models: Iterable[Model], default: str) -> Table:
    """Those of `models` that other servers hold, a line for each server."""
    table = _table(("Name", "Title", "Server", "Model there", "Key in"), ("Context", "At once"))
    for model in models:
        for upstream in model.remote.upstreams if model.remote else ():
            table.add_row(
                f"{model.name} *" if model.name == default else model.name,
                _plain(model.title),
                _plain(upstream.url),
                _plain(upstream.model),
                upstream.key_env,
                f"{model.context_length:,}",
                f"{upstream.parallel}",
            )
    return table


def catalogue_table(entries: Iterable[Source]) -> Table:
    table = _table(("Name", "Good for", "Licence"), ("Weights", "Download"))
    for entry in entries:
        table.add_row(
            entry.name,
            _plain(f"{entry.title}. {entry.about}"),
            _plain(entry.license),
            entry.parameters,
            size(entry.size),
        )
    return table


def _plain(text: str) -> str:
    """Words of a file, which are no markup and no commands to the terminal."""
    return escape("".join(c for c in text if c.isprintable()))


def _table(words: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
