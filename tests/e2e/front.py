"""A reverse proxy that shows a server below a path, as nginx does with `location /wick/`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.e2e.relay import copy
from tests.e2e.server import Server, free_port

_HEAD: Final = re.compile(rb"(\w+) ([^ ]+) HTTP/1\.1\r\n(.*)\r\n\r\n", re.DOTALL)
_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Front:
    """Proxy on a sub-path. `strips`: forward the path without its prefix. `strays`: requests beside
    it, where other sites of the same name would be.
    """

    def __init__(self, server: Server, base: str, *, strips: bool) -> None:
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.strays: list[str] = []
        self._server, self._base, self._strips = server, base, strips
        self._connections: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Ends what is still open and waits for it."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._connected(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection, or one socket."""
        head = _HEAD.fullmatch(await reader.readuntil(b"\r\n\r\n"))
        assert head
        method, target, rest = head.groups()
        if not target.startswith(f"{self._base}/".encode()):
            self.strays.append(target.decode())
            writer.write(_NOT_FOUND)
            await writer.drain()
            return
        if self._strips:
            target = target.removeprefix(self._base.encode())
        there, back = await asyncio.open_connection("127.0.0.1", self._server.port)
        if b"upgrade: websocket" not in rest.lower():
            rest = re.sub(rb"(?i)connection: keep-alive", b"Connection: close", rest)
        told = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http"
        back.write(method + b" " + target + b" HTTP/1.1\r\n" + rest + b"\r\n" + told + b"\r\n\r\n")
        upwards = asyncio.create_task(copy(reader, back))
        try:
            await copy(there, writer)
        finally:
            upwards.cancel()
            await asyncio.gather(upwards, return_exceptions=True)
            back.transport.abort()


@asynccontextmanager
async def front_of(server: Server, base: str, *, strips: bool) -> AsyncIterator[Front]:
    front = Front(server, base, strips=strips)
    listener = await asyncio.start_server(front.pass_on, "127.0.0.1", front.port)
    try:
        yield front
    finally:
        listener.close()
        await front.close()
