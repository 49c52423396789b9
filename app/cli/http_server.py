"""HTTP server of the application: Hypercorn with our limits, on an address or an open socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.config import Settings
from app.errors import StoreError, StoreUnusable
from app.logs.writer import log_task_failure

if TYPE_CHECKING:
    from hypercorn.config import Config
    from quart import Quart

    from app.cli.connection_limits import ConnectionLimiter
    from app.server import ServerContext

MAX_SOCKET_MESSAGE_BYTES: Final = 2 << 20
MAX_HEAD_BYTES: Final = 16 << 10
MAX_OPEN_FILES: Final = 65_536
KEEP_ALIVE_SECONDS = 5.0
"""Silence between requests; Hypercorn bounds by it, too, how long a request's head may take. How
long its body may take is the application's (BODY_TIMEOUT). Nothing bounds silence beyond those:
streams of events and sockets are silent for as long as a model thinks."""
PING_SECONDS = 3.0
"""Two that are not answered end a connection, so a dead one is noticed within 10 seconds; within 60
where nothing has gone through for a while, and pings are fewer."""


@dataclass(frozen=True, slots=True)
class HttpServer:
    """Server of an application, with its Hypercorn configuration."""

    app: Quart
    config: Config

    async def run(self, until_stopped: Callable[[ServerContext], Awaitable[None]]) -> None:
        """Start the application, serve it until `until_stopped` returns, and end it.

        Raises StoreUnusable for a database that cannot be opened.
        """
        from hypercorn.asyncio import serve

        asyncio.get_running_loop().set_exception_handler(log_task_failure)
        await _start(self.app)

        async def shut_down() -> None:
            context: ServerContext = self.app.extensions["wick"]
            await until_stopped(context)
            await context.close()

        try:
            await serve(_started(self.app), self.config, shutdown_trigger=shut_down)
        finally:
            await self.app.shutdown()


def create_server(settings: Settings, bind: str) -> HttpServer:
    """Create the server.

    `bind`: where to listen, as Hypercorn takes it: `host:port`, or `fd://N` of a socket.
    """
    with _frozen_gc():
        from hypercorn.config import Config

        from app.cli.connection_limits import ConnectionLimiter
        from app.server import create_app

        app = create_app(settings)
    config = Config()
    config.bind = [bind]
    if settings.tls_cert and settings.tls_key:
        config.certfile, config.keyfile = str(settings.tls_cert), str(settings.tls_key)
    configure(config, MAX_SOCKET_MESSAGE_BYTES, ConnectionLimiter.from_settings(settings))
    _raise_file_limit()
    logging.getLogger("hypercorn").setLevel(logging.WARNING)
    return HttpServer(app, config)


def configure(config: Config, longest_message: int, limiter: ConnectionLimiter) -> None:
    """Set the limits of every connection.

    `longest_message`: bytes of one message on a socket; `limiter`: who may connect.
    """
    from app.cli import hypercorn_patches

    config.errorlog = logging.getLogger("hypercorn")
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.3
    config.shutdown_timeout = 1.5
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.ssl_handshake_timeout = KEEP_ALIVE_SECONDS
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.alpn_protocols = ["http/1.1"]
    config.websocket_max_message_size = longest_message
    config.websocket_ping_interval = PING_SECONDS
    config.include_server_header = False
    hypercorn_patches.install(longest_message, limiter)


def _raise_file_limit() -> None:
    """Raise the limit of open files: connections are files, and systems allow few by default."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _start(app: Quart) -> None:
    """Start it here: Hypercorn would print a traceback for what is one sentence."""
    try:
        await app.startup()
    except StoreError as error:
        raise StoreUnusable(str(error)) from error


@contextlib.contextmanager
def _frozen_gc() -> Iterator[None]:
    """Keep the collector away from what is made meanwhile, which lasts as long as the process: now
    the first page would wait for it, and later answers would."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _started(app: Quart) -> Any:
    """Wrap `app` for Hypercorn, which neither starts nor ends it."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    return serve
