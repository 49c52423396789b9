"""A way to the server that can be cut, as when a phone sleeps or leaves the house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.e2e.server import Server, free_port


class Relay:
    """Passes bytes on to `server` from an address of its own, while nobody has cut it."""

    def __init__(self, server: Server, port: int) -> None:
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        self._server = server
        self._is_cut = self._is_silent = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows: set[asyncio.Event] = set()

    def cut(self) -> None:
        """Cut all connections and refuse new ones."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()
        for flow in self._flows:
            flow.set()

    def swallow(self) -> None:
        """Let nothing through silently: connections look open."""
        self._is_silent = True
        for flow in self._flows:
            flow.clear()

    def mend(self) -> None:
        """Serve new connections again; those that were cut or swallowed stay so."""
        self._is_cut = self._is_silent = False

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._server.port)
        ends, flow = {writer, back}, asyncio.Event()
        if not self._is_silent:
            flow.set()
        self._writers |= ends
        self._flows.add(flow)
        try:
            await asyncio.gather(copy(reader, back, flow), copy(there, writer, flow))
        finally:
            self._writers -= ends
            self._flows.remove(flow)
            for end in ends:
                end.transport.abort()


async def copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event | None = None
) -> None:
    """Copy everything that comes, while `flow` is set."""
    with suppress(OSError):
        while data := await reader.read(65536):
            if flow is not None:
                await flow.wait()
            writer.write(data)
            await writer.drain()
        if flow is not None:
            await flow.wait()
        writer.write_eof()


@asynccontextmanager
async def relay_to(server: Server) -> AsyncIterator[Relay]:
    relay = Relay(server, free_port())
    listener = await asyncio.start_server(relay.pass_on, "127.0.0.1", relay.port)
    try:
        yield relay
    finally:
        relay.cut()
        listener.close()
