"""Actions of `wick models` that a running server has a part in: load, engine, remove ..."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

import httpx

from app.cli.model_output import ModelStatus, ShowLoad, fetch_status, load_reporter
from app.config import Settings
from app.errors import ModelLoadError, ModelNotFound, PeerError
from app.local_server import error_message, server_client
from app.models.engines import ENGINE_SETTINGS
from app.models.model import format_bytes
from app.models.store import NAME, ModelStore

POLL_SECONDS = 0.2  # seconds
TIMEOUT = 60.0  # seconds; unloading writes the KV states of chats first


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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

    action = actions.add_parser("remove", help="remove a model and delete its files")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=remove_model)


def load_model(args: argparse.Namespace, settings: Settings) -> int:
    """Load a model, and show the progress until it is ready; Ctrl-C only stops watching."""
    _request(settings, args.name, "load")
    try:
        with load_reporter() as show, server_client(settings, TIMEOUT) as client:
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


def remove_model(args: argparse.Namespace, settings: Settings) -> int:
    """Remove a model by the running server, so that nothing of it stays loaded or shown."""
    store = ModelStore(settings.models_dir)
    store.folder(args.name)
    if not _is_done_by_server(settings, "DELETE", args.name):
        store.remove(args.name)
    print(f"{args.name} is removed.")
    return 0


def notify_server(settings: Settings, name: str) -> None:
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
        with server_client(settings, TIMEOUT) as client:
            url = str(client.base_url).rstrip("/")
            response = client.request(method, f"/models/{name}{rest}")
    except httpx.TimeoutException as error:
        raise PeerError(f"Wick at {url} has not answered after {TIMEOUT:.0f} seconds.") from error
    except httpx.TransportError as error:
        raise ServerNotRunning(
            f"No Wick is running at {url}. Start it with “wick serve”, or set WICK_HOST and "
            "WICK_PORT to where it runs."
        ) from error
    if response.status_code == 404:
        raise ServerNotRunning(error_message(response))
    if not response.is_success:
        raise PeerError(error_message(response))
