"""`wick serve`: the page, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.cli import exposure
from app.config import Settings
from app.errors import ConfigError, StoreError, StoreUnusable
from app.store.owner import FolderLock, lock_data_folder

if TYPE_CHECKING:
    from quart import Quart

    from app.models.pulls import PullManager

log = logging.getLogger(__name__)
MAX_SOCKET_MESSAGE_BYTES = 2 << 20


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("serve")
    parser.add_argument("--host", help="address to listen on (default: WICK_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (default: WICK_PORT)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.host:
        settings = replace(settings, host=arguments.host)
    if arguments.port is not None:
        if not 1 <= arguments.port <= 65535:
            raise ConfigError(f"--port {arguments.port} is wrong: it takes 1 to 65535.")
        settings = replace(settings, port=arguments.port)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # servers are looked at all the time
    exposure.check(settings)
    _check_address(settings)
    _check_folders(settings)
    exposure.warn(settings)
    with lock_data_folder(settings.data_dir, "wick serve") as ownership:
        asyncio.run(_serve(settings, ownership))
    return 0


def _check_address(settings: Settings) -> None:
    """Hypercorn would print a traceback for what is one sentence."""
    try:
        family, kind, *_, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {settings.port} is in use already. Is Wick running at {settings.page_url}? "
                "Another port: WICK_PORT=8001."
            ) from error
        raise ConfigError(
            f"WICK_HOST={settings.host} with WICK_PORT={settings.port} cannot be listened on: "
            f"{error.strerror or error}."
        ) from error


def _check_folders(settings: Settings) -> None:
    for name in ("data_dir", "models_dir"):
        folder = getattr(settings, name)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"WICK_{name.upper()}={folder} cannot be used: {error.strerror}."
            ) from error


async def _serve(settings: Settings, ownership: FolderLock) -> None:
    with _frozen_gc():
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        from app.cli import wire
        from app.cli.crowd import ConnectionLimiter, raise_file_limit
        from app.factory import create_app, shutdown

        app = create_app(settings)
    config = Config()
    config.bind = [settings.url.partition("://")[2]]
    if settings.tls_cert and settings.tls_key:
        config.certfile, config.keyfile = str(settings.tls_cert), str(settings.tls_key)
    wire.configure(config, MAX_SOCKET_MESSAGE_BYTES, ConnectionLimiter.from_settings(settings))
    raise_file_limit()
    logging.getLogger("hypercorn").setLevel(logging.WARNING)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_ignore_cancelled)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    async def until_stopped() -> None:
        pulls: PullManager = app.extensions["wick"].pulls
        pulls.listeners.append(TerminalProgress(pulls).show)
        ownership.publish(settings.local_url, app.extensions["wick"].secret)
        print(f"\n  Wick is at {settings.page_url}   (Ctrl-C stops it)\n", flush=True)
        if settings.has_accounts:
            await exposure.print_setup_link(settings, app.extensions["wick"].users)
        await stop.wait()
        await shutdown(app)

    await _start(app)
    try:
        await serve(_started(app), config, shutdown_trigger=until_stopped)
    finally:
        await app.shutdown()


async def _start(app: Quart) -> None:
    """Not left to Hypercorn, which would print a traceback for what is one sentence."""
    try:
        await app.startup()
    except StoreError as error:
        raise StoreUnusable(str(error)) from error


@contextlib.contextmanager
def _frozen_gc() -> Iterator[None]:
    """What is made meanwhile lasts as long as the process, so nobody looks for garbage in it: not
    now, which the first page would wait for, and not later, which answers would."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _ignore_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Python 3.11 reports each connection that is cancelled at the end as an error. It is none."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def _started(app: Quart) -> Any:
    """`app` for Hypercorn, which neither starts nor ends it."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    return serve


class TerminalProgress:
    """How far pulls are, as one line that is written over; in a log file one line a tenth."""

    def __init__(self, pulls: PullManager) -> None:
        self._pulls = pulls
        self._last: dict[str, str] = {}
        self._is_terminal = sys.stderr.isatty()

    def show(self) -> None:
        for pull in self._pulls.all():
            progress = pull.progress
            step = f"{progress.stage} {10 * progress.done // max(progress.total, 1)}"
            if pull.error:
                step = pull.error
            if self._last.get(pull.name) == step and not self._is_terminal:
                continue
            self._last[pull.name] = step
            end = "" if self._is_terminal and not pull.error else "\n"
            start = "\r\x1b[K" if self._is_terminal else ""
            print(
                f"{start}  {pull.error or pull.description}", end=end, file=sys.stderr, flush=True
            )
