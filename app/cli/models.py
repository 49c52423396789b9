"""`wick models`: list, import, pull, add and remove models."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Mapping

from rich.console import Console

from app.cli import model_life, remote_models
from app.cli.admission import server_client
from app.cli.model_progress import progress_reporter
from app.cli.model_report import REPORT_TIMEOUT, ModelStatus, fetch_status
from app.cli.model_tables import catalogue_table, models_table, remote_table
from app.config import Settings
from app.errors import WickError
from app.models import memory, sources
from app.models.catalogue import CATALOGUE
from app.models.figures import format_bytes
from app.models.model import Model
from app.models.shelf import ModelStore
from app.models.spec import FORMS, LocalSpec


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("models")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    action = actions.add_parser("list", help="show the models on the shelf")
    action.set_defaults(func=list_models)

    action = actions.add_parser("catalogue", help="show the models that can be pulled by name")
    action.set_defaults(func=list_catalogue)

    action = actions.add_parser("pull", help="fetch a model, by name or from anywhere")
    action.add_argument("source", metavar="SPEC", help=f"a name of the catalogue, or {FORMS}")
    _add_name(action)
    action.set_defaults(func=pull_model)

    action = actions.add_parser("import", help="put a GGUF file of this machine on the shelf")
    action.add_argument(
        "source", metavar="FILE_OR_FOLDER", help="a GGUF file, or a folder with one model in it"
    )
    _add_name(action)
    action.set_defaults(func=import_model)

    remote_models.add_actions(actions)
    model_life.add_actions(actions)


def list_models(args: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    store = ModelStore(settings.models_dir)
    models, damaged = store.scan()
    for name, sentence in damaged:
        print(f"{sentence} To remove it: wick models remove {name}")
    if models:
        default = store.default() or settings.default_model
        report = _report(settings)
        here = [model for model in models if model.remote is None]
        if here:
            console.print(models_table(here, settings, default, report, width=console.width))
            print(_memory(settings, report))
        if len(here) < len(models):
            console.print(remote_table(models, default, report, width=console.width))
        if any(model.name == default for model in models):
            print("* The default: new chats begin with it.")
        print("More models: wick models catalogue")
    else:
        print("There are no models on the shelf yet. These can be had by wick models pull NAME:")
        console.print(catalogue_table(CATALOGUE.values(), width=console.width))
    return 0


def _report(settings: Settings) -> dict[str, ModelStatus] | None:
    """None where no server runs, or this one does not let us in."""
    with contextlib.suppress(WickError), server_client(settings, REPORT_TIMEOUT) as client:
        return fetch_status(client)
    return None


def _memory(settings: Settings, report: Mapping[str, ModelStatus] | None) -> str:
    there = (
        f"{format_bytes(memory.budget(settings))} of the {format_bytes(memory.total_memory())} here"
    )
    if report is None:
        return f"Models may use {there}. No Wick is running, so none is loaded."
    held = sum(model.memory for model in report.values())
    return f"Models may use {there}; {format_bytes(held)} are set aside for those that are loaded."


def list_catalogue(args: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    console.print(catalogue_table(CATALOGUE.values(), width=console.width))
    print("To get one: wick models pull NAME")
    return 0


def pull_model(args: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_dir)
    spec = sources.resolve(args.source, store, args.name)
    try:
        with progress_reporter() as report:
            model = asyncio.run(sources.pull(spec, store, report))
    except KeyboardInterrupt:
        if not isinstance(spec.spec, LocalSpec):
            print("Stopped. The same command goes on where this one was.", file=sys.stderr)
        raise
    return _installed(settings, model)


def import_model(args: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_dir)
    spec = sources.resolve_local(args.source, store, args.name)
    with progress_reporter() as report:
        model = asyncio.run(sources.pull(spec, store, report))
    return _installed(settings, model)


def _add_name(action: argparse.ArgumentParser) -> None:
    action.add_argument("--name", help="its name on the shelf (made from the file's by default)")


def _installed(settings: Settings, model: Model) -> int:
    model_life.notify_server(settings, model.name)
    print(f"{model.title} is on the shelf as {model.name}.")
    return 0
