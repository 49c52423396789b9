"""`wick models`: list, import, pull, add, add-remote and remove models."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console

from app.cli import model_actions
from app.cli.model_output import (
    REPORT_TIMEOUT,
    ModelStatus,
    catalogue_table,
    fetch_status,
    found_table,
    models_table,
    progress_reporter,
    remote_table,
)
from app.config import Settings
from app.errors import ModelNotFound, WickError
from app.local_server import server_client
from app.models import memory
from app.models.catalogue import offers
from app.models.found import FoundModel, FoundModels
from app.models.install import install
from app.models.model import Model, format_bytes
from app.models.model_files import ASSUMED_CONTEXT
from app.models.sources import FORMS, LocalSpec
from app.models.store import ModelStore
from app.models.upstream import PARALLEL, Upstream

# `wick models add-remote`: a model that another server runs.


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "add-remote",
        help="add a remote model: one of an OpenAI-compatible server",
        description="Add a model that another server runs: vLLM, llama-server, SGLang, Ollama, "
        "LM Studio, another Wick. Repeat --url, or use an existing NAME, to share the load.",
    )
    action.add_argument("name", metavar="NAME", help="its name in Wick")
    action.add_argument(
        "--url",
        action="append",
        required=True,
        help="address of the server, such as http://gpu:8000/v1 (repeatable)",
    )
    action.add_argument("--model", required=True, help="model ID on the server")
    action.add_argument(
        "--key-env",
        default="",
        metavar="VAR",
        help="environment variable holding the API key; only its name is stored",
    )
    action.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="context window in tokens (default: ask the server)",
    )
    action.add_argument(
        "--parallel",
        type=int,
        default=PARALLEL,
        metavar="N",
        help=f"answers each server writes at once (default: {PARALLEL})",
    )
    action.add_argument("--title", help="display name")
    action.set_defaults(func=add_remote)


def add_remote(args: argparse.Namespace, settings: Settings) -> int:
    upstreams = [Upstream(url, args.model, args.key_env, args.parallel) for url in args.url]
    store = ModelStore(settings.models_dir)
    model = store.add_remote(args.name, upstreams, context=args.context, title=args.title)
    print(f"{model.title} is installed as {model.name}.")
    for line in asyncio.run(_check_server(model)):
        print(line)
    return 0


async def _check_server(model: Model) -> list[str]:
    """Report how its servers are just now. They may as well be started later."""
    # Here and not above: a client for HTTP, which few commands need.
    from app.inference.remote.health import check

    assert model.remote is not None  # noqa: S101 - it was just added
    upstreams = model.remote.upstreams
    lines = []
    for upstream, found in zip(
        upstreams, await asyncio.gather(*map(check, upstreams)), strict=True
    ):
        if found.problem:
            lines.append(f"Not ready yet: {found.problem}")
            continue
        context = model.remote.context or found.context
        room = f"{context:,} tokens" if context else f"{ASSUMED_CONTEXT:,} tokens assumed"
        lines.append(f"{upstream.host} is ready ({room}).")
        if found.others:
            lines.append(f"It lists no model “{upstream.model}”; it has {', '.join(found.others)}.")
    if hosts := model.remote.external_hosts:
        lines.append(f"What is written to this model is sent to {' and '.join(hosts)}.")
    return lines


# `wick models`: list, import, pull, add and remove models.


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("models")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    action = actions.add_parser("list", help="list installed models")
    action.set_defaults(func=list_models)

    action.add_argument(
        "--found",
        action="store_true",
        help="list models of Ollama, LM Studio, llama.cpp and Hugging Face on this computer",
    )

    action = actions.add_parser("catalogue", help="list the models you can download by name")
    action.set_defaults(func=list_catalogue)

    action = actions.add_parser("pull", help="download a model, by name or from a URL")
    action.add_argument("source", metavar="SPEC", help=f"a name from the catalogue, or {FORMS}")
    _add_name(action)
    action.set_defaults(func=pull_model)

    action = actions.add_parser("link", help="use another program's model without copying it")
    action.add_argument("found", metavar="NAME", help="name shown by wick models list --found")
    _add_name(action)
    action.set_defaults(func=link_model)

    action = actions.add_parser("import", help="install a GGUF file from this computer")
    action.add_argument(
        "source", metavar="FILE_OR_FOLDER", help="a GGUF file, or a folder with one model"
    )
    _add_name(action)
    action.set_defaults(func=import_model)

    add_actions(actions)
    model_actions.add_actions(actions)


def list_models(args: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    store = ModelStore(settings.models_dir)
    models, damaged = store.scan()
    if args.found:
        return _list_found(console, FoundModels().available(models))
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
        print("No model installed yet. Download one with wick models pull NAME:")
        console.print(catalogue_table(offers(), settings, width=console.width))
    return 0


def _report(settings: Settings) -> dict[str, ModelStatus] | None:
    """Fetch the running server's report; None where none runs, or it does not let us in."""
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
    return f"Models may use {there}; {format_bytes(held)} are reserved for the loaded ones."


def list_catalogue(args: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    console.print(catalogue_table(offers(), settings, width=console.width))
    print("Download one: wick models pull NAME")
    return 0


def pull_model(args: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_dir)
    spec = install.resolve(args.source, store, args.name, budget=memory.budget(settings))
    try:
        with progress_reporter() as report:
            model = asyncio.run(install.pull(spec, store, report))
    except KeyboardInterrupt:
        if not isinstance(spec.spec, LocalSpec):
            print("Stopped. Run the same command to continue the download.", file=sys.stderr)
        raise
    return _installed(settings, model)


def _list_found(console: Console, found: Sequence[FoundModel]) -> int:
    if not found:
        print("No other program on this computer has a model that isn't in Wick yet.")
        return 0
    console.print(found_table(found, width=console.width))
    print("Use one: wick models link NAME")
    return 0


def link_model(args: argparse.Namespace, settings: Settings) -> int:
    """Link by the name or the title that the list shows."""
    store = ModelStore(settings.models_dir)
    named = [m for m in FoundModels().all() if args.found in (m.name, m.title, str(m.path))]
    if not named:
        raise ModelNotFound(f"No other program has a model “{args.found}” on this computer.")
    spec = install.resolve_found(named[0], store, args.name)
    with progress_reporter() as report:
        model = asyncio.run(install.pull(spec, store, report))
    return _installed(settings, model)


def import_model(args: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_dir)
    spec = install.resolve_local(args.source, store, args.name)
    with progress_reporter() as report:
        model = asyncio.run(install.pull(spec, store, report))
    return _installed(settings, model)


def _add_name(action: argparse.ArgumentParser) -> None:
    action.add_argument("--name", help="its name in Wick (default: from the file name)")


def _installed(settings: Settings, model: Model) -> int:
    model_actions.notify_server(settings, model.name)
    print(f"{model.title} is installed as {model.name}.")
    return 0
