"""`wick models load`, `unload`, `default` and `remove`: what a running server has a part in."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

import httpx

from app.cli.admission import admitted, sentence_of
from app.cli.model_progress import ShowLoad, shown_load
from app.cli.model_report import Reported, read_report
from app.config import Settings
from app.errors import ModelLoadError, ModelNotFound, PeerError
from app.models.figures import size
from app.models.shelf import NAME, Shelf

LOOK_AGAIN = 0.2  # seconds
PATIENCE = 60.0  # seconds; unloading writes the KV states of chats first


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser("load", help="have the running server load a model now")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=load_model)

    action = actions.add_parser("unload", help="have the running server free a model's memory")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=unload_model)

    action = actions.add_parser(
        "default", help="show or choose the model that new chats begin with"
    )
    action.add_argument("name", metavar="NAME", nargs="?")
    action.set_defaults(func=default_model)

    action = actions.add_parser("remove", help="take a model off the shelf and delete its files")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(func=remove_model)


def load_model(args: argparse.Namespace, settings: Settings) -> int:
    """Begins to load it, and shows how far that is until it is ready; Ctrl-C only looks away."""
    _ask(settings, args.name, "load")
    try:
        with shown_load() as show, admitted(settings, PATIENCE) as client:
            ended = _until_loaded(client, args.name, show)
    except KeyboardInterrupt:
        print(f"{args.name} goes on being loaded by the server.", file=sys.stderr)
        raise
    if ended is None:
        print(f"{args.name} is being loaded.")
    elif ended.state == "ready":
        print(f"{args.name} is ready, with {size(ended.memory)} of memory set aside.")
    else:
        raise ModelLoadError(ended.error or f"{args.name} was unloaded before it was ready.")
    return 0


def _until_loaded(client: httpx.Client, name: str, show: ShowLoad) -> Reported | None:
    """How it is once the load has ended; None if the server cannot tell."""
    while True:
        report = read_report(client)
        if report is None or name not in report:
            return None
        now = report[name]
        if now.state not in {"loading", "unloading"}:
            return now
        show(now.line, now.progress)
        time.sleep(LOOK_AGAIN)


def unload_model(args: argparse.Namespace, settings: Settings) -> int:
    _ask(settings, args.name, "unload")
    print(f"{args.name} is not loaded any more.")
    return 0


def default_model(args: argparse.Namespace, settings: Settings) -> int:
    shelf = Shelf(settings.models_dir)
    if args.name is not None:
        shelf.get(args.name)
        if not _is_done_by_server(settings, "POST", args.name, "/default"):
            shelf.set_default(args.name)
        print(f"New chats begin with {args.name}.")
    else:
        print(shelf.default() or settings.default_model)
    return 0


def remove_model(args: argparse.Namespace, settings: Settings) -> int:
    """The running server removes it, so that nothing of it stays loaded or shown."""
    shelf = Shelf(settings.models_dir)
    shelf.folder(args.name)
    if not _is_done_by_server(settings, "DELETE", args.name):
        shelf.remove(args.name)
    print(f"{args.name} is removed.")
    return 0


def tell_server(settings: Settings, name: str) -> None:
    """That a model has come; a server that cannot be told sees it with its next look."""
    with contextlib.suppress(PeerError):
        _send(settings, "POST", name, "/arrived")


class _NoServer(PeerError):
    """Nothing answers, or what answers knows no such model: it has another shelf, or is no Wick."""


def _is_done_by_server(settings: Settings, method: str, name: str, rest: str = "") -> bool:
    """Raises PeerError when the server refuses."""
    try:
        _send(settings, method, name, rest)
    except _NoServer:
        return False
    return True


def _ask(settings: Settings, name: str, verb: str) -> None:
    """Raises ModelNotFound, or PeerError with the server's own sentence."""
    _send(settings, "POST", name, f"/{verb}")


def _send(settings: Settings, method: str, name: str, rest: str) -> None:
    if not NAME.fullmatch(name):
        raise ModelNotFound(f"There is no model named “{name}” on the shelf.")
    url = settings.local_url
    try:
        with admitted(settings, PATIENCE) as client:
            url = str(client.base_url).rstrip("/")
            response = client.request(method, f"/models/{name}{rest}")
    except httpx.TimeoutException as error:
        raise PeerError(f"Wick at {url} has not answered after {PATIENCE:.0f} seconds.") from error
    except httpx.TransportError as error:
        raise _NoServer(
            f"No Wick is running at {url}. Start it with “wick serve”, or set WICK_HOST and "
            "WICK_PORT to where it runs."
        ) from error
    if response.status_code == 404:
        raise _NoServer(sentence_of(response))
    if not response.is_success:
        raise PeerError(sentence_of(response))
