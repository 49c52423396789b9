"""`wick models`: list, install and remove models, and load them in the running server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping, Sequence

import httpx
from rich.console import Console

from app.cli import voice_models
from app.cli.model_output import (
    REPORT_TIMEOUT,
    ModelStatus,
    ShowLoad,
    catalogue_table,
    fetch_status,
    found_table,
    load_reporter,
    models_table,
    progress_reporter,
    remote_table,
)
from app.cli.remote_models import add_remote_action
from app.config import Settings
from app.errors import ModelLoadError, ModelNotFound, PeerError, WickError
from app.local_server import error_message, server_client
from app.media.voice_catalogue import VOICE_CATALOGUE
from app.models import memory
from app.models.catalogue import offers
from app.models.engines import ENGINE_SETTINGS
from app.models.found import FoundModel, FoundModels
from app.models.install import install
from app.models.model import Model, format_bytes, parse_gpu_layers
from app.models.sources import FORMS, LocalSpec
from app.models.store import NAME, ModelStore

POLL_SECONDS = 0.2
TIMEOUT_SECONDS = 60.0
"""Unloading writes the KV states of chats first."""


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

    add_remote_action(actions)
    _add_server_actions(actions)


def list_models(args: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    store = ModelStore(settings.models_dir)
    models, damaged = store.scan()
    if args.found:
        return _list_found(console, FoundModels().available(models))
    for name, sentence in damaged:
        print(f"{sentence} To remove it: wick models remove {name}")
    voice_models.print_voice_models(console, settings)
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
    voice_models.print_voice_catalogue(console)
    print("Download one: wick models pull NAME")
    return 0


def pull_model(args: argparse.Namespace, settings: Settings) -> int:
    if args.source in VOICE_CATALOGUE:
        return voice_models.pull_voice_model(args.source, settings)
    store = ModelStore(settings.models_dir, settings.keep_free_bytes)
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
    store = ModelStore(settings.models_dir, settings.keep_free_bytes)
    spec = install.resolve_local(args.source, store, args.name)
    with progress_reporter() as report:
        model = asyncio.run(install.pull(spec, store, report))
    return _installed(settings, model)


def _add_name(action: argparse.ArgumentParser) -> None:
    action.add_argument("--name", help="its name in Wick (default: from the file name)")


def _installed(settings: Settings, model: Model) -> int:
    _notify_server(settings, model.name)
    print(f"{model.title} is installed as {model.name}.")
    return 0


# Actions that a running server has a part in: load, engine, remove ...


def _add_server_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser("load", help="load a model in the running server")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=load_model)

    action = actions.add_parser("unload", help="unload a model from the running server")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=unload_model)

    action = actions.add_parser("default", help="show or set the default model of new chats")
    action.add_argument("name", metavar="NAME", nargs="?")
    action.set_defaults(func=default_model)

    action = actions.add_parser(
        "engine",
        help="show or set the engine that runs a model",
        description="Show or set the engine that runs a model. With auto, Wick picks the one that "
        "can run it, and the faster one if both can.",
    )
    action.add_argument("name", metavar="NAME")
    action.add_argument("engine", nargs="?", choices=ENGINE_SETTINGS)
    action.set_defaults(func=engine_of_model)

    action = actions.add_parser(
        "gpu",
        help="show or set how many layers of a model a GPU may hold",
        description="Show or set how many layers of a model llama.cpp puts on a GPU: auto (all "
        "that fit), a number, 0 (CPU only), or default (WICK_GPU_LAYERS).",
    )
    action.add_argument("name", metavar="NAME")
    action.add_argument("layers", nargs="?", metavar="LAYERS")
    action.set_defaults(func=gpu_layers_of_model)

    action = actions.add_parser(
        "projector",
        help="show, set or remove the file with which a model sees pictures",
        description="Show, set or remove the projector (mmproj) of an installed model, with which "
        "it sees pictures or hears.",
    )
    action.add_argument("name", metavar="NAME")
    action.add_argument("source", nargs="?", metavar="FILE", help=f"a GGUF file, or {FORMS}")
    action.add_argument("--remove", action="store_true", help="take its projector away")
    action.set_defaults(func=projector_of_model)

    action = actions.add_parser("remove", help="remove a model and delete its files")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=remove_model)


def load_model(args: argparse.Namespace, settings: Settings) -> int:
    """Load a model, and show the progress until it is ready; Ctrl-C only stops watching."""
    _request(settings, args.name, "load")
    try:
        with load_reporter() as show, server_client(settings, TIMEOUT_SECONDS) as client:
            ended = _until_loaded(client, args.name, show)
    except KeyboardInterrupt:
        print(f"The server keeps loading {args.name}.", file=sys.stderr)
        raise
    if ended is None:
        print(f"{args.name} is being loaded.")
    elif ended.state == "ready":
        print(f"{args.name} is ready, with {format_bytes(ended.memory)} of memory reserved.")
    else:
        raise ModelLoadError(ended.error or f"{args.name} was unloaded before it was ready.")
    return 0


def _until_loaded(client: httpx.Client, name: str, show: ShowLoad) -> ModelStatus | None:
    """Wait for the load to end; return the status, None if the server cannot tell."""
    while True:
        report = fetch_status(client)
        if report is None or name not in report:
            return None
        now = report[name]
        if now.state not in {"loading", "unloading"}:
            return now
        show(now.line, now.progress)
        time.sleep(POLL_SECONDS)


def unload_model(args: argparse.Namespace, settings: Settings) -> int:
    _request(settings, args.name, "unload")
    print(f"{args.name} is unloaded.")
    return 0


def default_model(args: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_dir)
    if args.name is not None:
        store.get(args.name)
        if not _is_done_by_server(settings, "POST", args.name, "/default"):
            store.set_default(args.name)
        print(f"New chats begin with {args.name}.")
    else:
        print(store.default() or settings.default_model)
    return 0


def engine_of_model(args: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_dir)
    model = store.get(args.name)
    if args.engine is not None:
        if not _is_done_by_server(settings, "POST", args.name, f"/engine/{args.engine}"):
            store.set_engine(args.name, args.engine)
        model = store.get(args.name)
    if model.remote is not None:
        print(f"{model.engine} (another server runs it)")
    else:
        print(f"{model.engine} ({model.engine_choice.reason})")
    return 0


def gpu_layers_of_model(args: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_dir)
    model = store.get(args.name)
    if args.layers is not None:
        if args.layers != "default":
            parse_gpu_layers(args.layers)
        if not _is_done_by_server(settings, "POST", args.name, f"/gpu/{args.layers.strip()}"):
            store.set_gpu_layers(args.name, args.layers)
        model = store.get(args.name)
    layers = model.settings.gpu_layers
    if layers is None:
        usual = "auto" if settings.gpu_layers is None else settings.gpu_layers
        print(f"{usual} (default)")
    else:
        print(layers)
    return 0


def projector_of_model(args: argparse.Namespace, settings: Settings) -> int:
    from app.models.install.projector import pull_projector  # few ask for it

    store = ModelStore(settings.models_dir)
    model = store.get(args.name)
    if args.remove:
        model = store.remove_projector(args.name)
    elif args.source is not None:
        with progress_reporter() as report:
            model = asyncio.run(pull_projector(args.source, store, args.name, report))
    if args.remove or args.source is not None:
        _notify_server(settings, args.name)
    if model.projector is None:
        print(f"{model.title} has no projector, so it sees no pictures.")
    else:
        print(f"{model.title} has a projector of {format_bytes(model.projector.size)}.")
    return 0


def remove_model(args: argparse.Namespace, settings: Settings) -> int:
    """Remove a model by the running server, so that nothing of it stays loaded or shown."""
    if voice_models.remove_voice_model(args.name, settings):
        return 0
    store = ModelStore(settings.models_dir)
    store.folder(args.name)
    if not _is_done_by_server(settings, "DELETE", args.name):
        store.remove(args.name)
    print(f"{args.name} is removed.")
    return 0


def _notify_server(settings: Settings, name: str) -> None:
    """Tell the server of a new model; one that cannot be reached sees it at its next scan."""
    with contextlib.suppress(PeerError):
        _send(settings, "POST", name, "/arrived")


class ServerNotRunning(PeerError):
    """No server answers, or one with another model store, or one that is no Wick."""


def _is_done_by_server(settings: Settings, method: str, name: str, rest: str = "") -> bool:
    """Have the server do it; False when none runs. Raises PeerError when it refuses."""
    try:
        _send(settings, method, name, rest)
    except ServerNotRunning:
        return False
    return True


def _request(settings: Settings, name: str, verb: str) -> None:
    """Request an action. Raises ModelNotFound, or PeerError with the server's own sentence."""
    _send(settings, "POST", name, f"/{verb}")


def _send(settings: Settings, method: str, name: str, rest: str) -> None:
    if not NAME.fullmatch(name):
        raise ModelNotFound(f"No model named “{name}” is installed.")
    url = settings.local_url
    try:
        with server_client(settings, TIMEOUT_SECONDS) as client:
            url = str(client.base_url).rstrip("/")
            response = client.request(method, f"/models/{name}{rest}")
    except httpx.TimeoutException as error:
        raise PeerError(
            f"Wick at {url} has not answered after {TIMEOUT_SECONDS:.0f} seconds."
        ) from error
    except httpx.TransportError as error:
        raise ServerNotRunning(
            f"No Wick is running at {url}. Start it with “wick serve”, or set WICK_HOST and "
            "WICK_PORT to where it runs."
        ) from error
    if response.status_code == 404:
        raise ServerNotRunning(error_message(response))
    if not response.is_success:
        raise PeerError(error_message(response))
