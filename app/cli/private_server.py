"""Private server of a `wick chat` that finds no server: in its own process, for nobody else.

Whoever works at this machine can reach a port of the loopback interface, so every request must show
the server's secret, which never leaves this process.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from app.cli.http_server import create_server
from app.config import Settings
from app.terminal.answer_display import on_sigint
from app.terminal.start import PrivateServer

if TYPE_CHECKING:
    from app.server import ServerContext

HOST: Final = "127.0.0.1"
REFUSAL: Final = b"This Wick serves only the terminal that started it.\n"


@asynccontextmanager
async def open_private_server(settings: Settings) -> AsyncIterator[PrivateServer]:
    """Serve on a free port until the end; then answers have kept their text, and no runner lives.

    The data folder must be this process's own. Raises StoreError.
    """
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    server = create_server(_private(settings, port), f"fd://{listener.detach()}")
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def until_stopped(context: ServerContext) -> None:
        guard.secret = context.secret
        ready.set_result(context.secret)
        await stop.wait()

    guard = SecretRequired(server.app.asgi_app)
    server.app.asgi_app = guard  # type: ignore[method-assign]
    serving = asyncio.create_task(server.run(until_stopped), name="private server")
    try:
        coming: list[asyncio.Future[Any]] = [serving, ready]
        await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            yield PrivateServer(f"http://{HOST}:{port}", ready.result())
    finally:
        stop.set()
        await _wait_out(serving)


def _private(settings: Settings, port: int) -> Settings:
    """Change the settings so that they serve one user on this machine."""
    return replace(
        settings,
        host=HOST,
        port=port,
        base_path="",
        accounts="off",
        allowed_hosts=(),
        trusted_proxies=(),
        tls_cert=None,
        tls_key=None,
    )


async def _wait_out(serving: asyncio.Task[None]) -> None:
    """Wait for the end to be complete, also when signals urge meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    with on_sigint(lambda: None):
        while not serving.done():
            try:
                await asyncio.wait([serving])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
    serving.result()


class SecretRequired:
    """ASGI application that lets nothing through without the secret, once that is known."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.secret = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._is_allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            head = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 401, "headers": head})
            await send({"type": "http.response.body", "body": REFUSAL})

    def _is_allowed(self, scope: Any) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        wanted = f"Bearer {self.secret}".encode()
        return bool(self.secret) and hmac.compare_digest(given, wanted)
