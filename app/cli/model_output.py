"""Output of `wick models`: tables, progress, and the status of a running server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from app.config import Settings
from app.media.voice_catalogue import VoiceEntry
from app.media.voice_models import VoiceModel
from app.models import memory
from app.models.catalogue import CatalogueEntry
from app.models.found import FoundModel
from app.models.install.progress import PullProgress
from app.models.model import Model, format_bytes, format_parameters

# How far a pull, an import or a load is, on the terminal.


ReportProgress = Callable[[PullProgress], None]
ShowLoad = Callable[[str, float | None], None]
"""Gets what a load is doing, in words, and how far it is from 0 to 1 where that is known."""
PLAIN_STEP = 10
"""Percent between two lines of progress where there is no terminal."""


@contextmanager
def progress_reporter() -> Iterator[ReportProgress]:
    """Show progress as a moving bar on a terminal; elsewhere as a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console)
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console) as bar:
        tasks = {}

        def report(progress: PullProgress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task("")
            bar.update(
                tasks[progress.stage],
                description=_capital(progress.description),
                completed=progress.done,
                total=progress.total or None,
            )

        yield report


@contextmanager
def load_reporter() -> Iterator[ShowLoad]:
    """Show the progress of a model's load, whose steps the server reports."""
    console = Console(stderr=True)
    if not console.is_terminal:
        printed: set[str] = set()

        def print_step(line: str, done: float | None) -> None:
            step = line if done is None else line[: line.rindex(" ") - 1]  # without its last digit
            if step not in printed:
                printed.add(step)
                console.print(line, highlight=False, soft_wrap=True)

        yield print_step
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console) as bar:
        task = bar.add_task("")

        def show(line: str, done: float | None) -> None:
            bar.update(task, description=line, completed=done or 0, total=done and 1)

        yield show


def _plain_lines(console: Console) -> ReportProgress:
    printed: dict[str, int] = {}

    def report(progress: PullProgress) -> None:
        percent = 100 * progress.done // progress.total if progress.total else 0
        if progress.stage not in printed or percent >= printed[progress.stage] + PLAIN_STEP:
            printed[progress.stage] = percent - percent % PLAIN_STEP
            line = f"{percent:3} %  {_capital(progress.description)}"
            console.print(line, highlight=False, soft_wrap=True)

    return report


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# What the running server says of its models: `/models/report`.


REPORT_TIMEOUT = 5.0  # seconds; it is an answer from this very machine


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Status of one model. line: its state in words; progress: 0 to 1; speed: tokens per second;
    memory: bytes reserved for it."""

    name: str
    state: str
    line: str
    progress: float | None
    error: str | None
    speed: float | None
    memory: int
    gpu: str = ""


def fetch_status(client: httpx.Client) -> dict[str, ModelStatus] | None:
    """Fetch the status of all models by name; None when nothing that answers there can tell."""
    with contextlib.suppress(httpx.HTTPError, ValueError, TypeError, KeyError):
        response = client.get("/models/report", timeout=REPORT_TIMEOUT)
        if response.is_success:
            known = ModelStatus.__slots__
            return {
                values["name"]: ModelStatus(**{n: values[n] for n in known if n in values})
                for values in response.json()["models"]
            }
    return None


# Installed models and the catalogue as tables on the terminal.


GAP: Final = 2
EDGES: Final = 2
NAME_WIDTH: Final = 20
WORDS_WIDTH: Final = 10
"""Characters of a line that a full column of names, and one of other words, has at least."""


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a table.

    `rank`: the column of the highest goes first where there is no room for all; 0: never.
    """

    heading: str
    cells: Sequence[str]
    rank: int = 0
    is_number: bool = False
    width: int = WORDS_WIDTH

    @property
    def least(self) -> int:
        """Least characters of a line that it needs."""
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
    """Table of installed models.

    default: the model that new chats begin with, which is marked; report: a server's own.
    """
    models = list(models)
    columns = [
        Column("Name", [_name(model, default) for model in models], width=NAME_WIDTH),
        Column("Title", [_plain(model.title) for model in models], 1),
        Column("Licence", [_plain(model.license or "") for model in models], 4),
        _numbers("Weights", [format_parameters(model.parameters) for model in models], 3),
        _numbers("Stored", [_plain(model.quantisation) for model in models], 2),
        Column("Engine", [model.engine for model in models], 2, width=13),
        *_pictures(models),
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
        on_gpu = [_plain(each.gpu) if (each := report.get(m.name)) else "" for m in models]
        if any(on_gpu):
            columns.append(Column("GPU", on_gpu, 1, width=13))
    return _table(columns, width)


def _pictures(models: Iterable[Model]) -> list[Column]:
    """Column that says which models see pictures, where any does."""
    cells = ["yes" if model.sees else "" for model in models]
    return [Column("Pictures", cells, 4)] if any(cells) else []


def _live(now: ModelStatus | None) -> tuple[str, str]:
    """Return a model's state, and how many tokens per second its latest answers came with."""
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
    """Table of those of `models` that other servers hold, a line for each server."""
    held = [(m, upstream) for m in models if m.remote for upstream in m.remote.upstreams]
    columns = [
        Column("Name", [_name(model, default) for model, _ in held], width=NAME_WIDTH),
        Column("Title", [_plain(model.title) for model, _ in held], 2),
        Column("Server", [_plain(upstream.url) for _, upstream in held], width=NAME_WIDTH),
        Column("Model ID", [_plain(up.model) for _, up in held], width=NAME_WIDTH),
        Column("Key in", [upstream.key_env for _, upstream in held], 1),
        _numbers("Context", [f"{model.context_length:,}" for model, _ in held]),
        _numbers("At once", [f"{upstream.parallel}" for _, upstream in held], 3),
    ]
    if report is not None:
        columns.append(Column("Now", [_live(report.get(model.name))[0] for model, _ in held]))
    return _table(columns, width)


def catalogue_table(
    entries: Iterable[CatalogueEntry], settings: Settings, *, width: int = 80
) -> Table:
    """Table of what can be downloaded, and whether it fits this machine."""
    entries, budget = list(entries), memory.budget(settings)
    needed = [memory.entry_bytes(entry, settings) for entry in entries]
    columns = [
        Column("Name", [entry.name for entry in entries], width=NAME_WIDTH),
        Column("Good for", [_plain(f"{entry.title}. {entry.about}") for entry in entries]),
        Column("Licence", [_plain(entry.license) for entry in entries], 1),
        _numbers("Weights", [entry.parameters for entry in entries], 2),
        _numbers("Download", [format_bytes(entry.size) for entry in entries]),
        _numbers("Memory", [format_bytes(size) for size in needed]),
        Column("Fits", ["yes" if size <= budget else "no" for size in needed]),
    ]
    return _table(columns, width)


def voice_table(models: Iterable[VoiceModel], chosen: str, *, width: int = 80) -> Table:
    """Table of voice models that are here. chosen: the one that hears."""
    models = list(models)
    columns = [
        Column("Voice model", [model.name for model in models], width=NAME_WIDTH),
        Column("Title", [_plain(model.title) for model in models], 1),
        _numbers("Size", [format_bytes(model.size) for model in models]),
        _numbers("Memory", [format_bytes(model.memory) for model in models]),
        Column("Hears", ["yes" if model.name == chosen else "" for model in models]),
    ]
    return _table(columns, width)


def voice_catalogue_table(entries: Iterable[VoiceEntry], *, width: int = 80) -> Table:
    """Table of voice models that can be downloaded."""
    entries = list(entries)
    columns = [
        Column("Voice model", [entry.name for entry in entries], width=NAME_WIDTH),
        Column("Good for", [_plain(f"{entry.title}. {entry.about}") for entry in entries]),
        Column("Licence", [_plain(entry.license) for entry in entries], 1),
        _numbers("Download", [format_bytes(entry.size) for entry in entries]),
    ]
    return _table(columns, width)


def found_table(found: Iterable[FoundModel], *, width: int = 80) -> Table:
    """Table of models of other programs."""
    found = list(found)
    columns = [
        Column("Name", [model.name for model in found], width=NAME_WIDTH),
        Column("Title", [_plain(model.title) for model in found], 1),
        Column("Program", [model.program for model in found]),
        _numbers("Size", [format_bytes(model.size) for model in found]),
    ]
    return _table(columns, width)


def _name(model: Model, default: str) -> str:
    return f"{model.name} *" if model.name == default else model.name


def _numbers(heading: str, cells: Sequence[str], rank: int = 0) -> Column:
    return Column(heading, cells, rank, is_number=True)


def _plain(text: str) -> str:
    """Remove what a terminal would take for commands."""
    return "".join(c for c in text if c.isprintable())


def _table(columns: Sequence[Column], width: int) -> Table:
    """Build a table of the columns that fit in a line of so many characters.

    Words fold, numbers do not, and what is long in one column takes nothing from another.
    """
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
