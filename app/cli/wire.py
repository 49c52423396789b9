"""What the server beneath the application allows on a connection, and some faults of it mended.

Hypercorn's own timeout for connections that say nothing (KEEP_ALIVE) also bounds how long a
request's head may take; how long its body may take is the application's (BODY_TIMEOUT). There is
no limit on silence beyond those: streams of events and sockets are silent for as long as a model
thinks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from functools import partial
from typing import Any, Final

import h11
import hypercorn.asyncio.run
import hypercorn.protocol
import hypercorn.protocol.h11
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.protocol.events import Body, Data, Event, Response, StreamClosed
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.utilities import LocalProtocolError

from app.cli.crowd import Crowd

KEEP_ALIVE = 5.0
HEAD_BYTES = 16 << 10
PING_SECONDS = 20.0
ABNORMAL = 1006
_SENTENCE: Final = b"Too many connections are open from this address. Close some pages, please.\n"
FULL: Final = b"\r\n".join(
    (
        b"HTTP/1.1 429 Too Many Requests",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(_SENTENCE),
        b"Cache-Control: no-store",
        b"Retry-After: 5",
        b"Connection: close",
        b"",
        _SENTENCE,
    )
)


def limit(config: Config, longest_message: int, crowd: Crowd) -> None:
    """`longest_message`: bytes of one message on a socket; crowd: who may connect."""
    config.errorlog = logging.getLogger("hypercorn")
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.3
    config.shutdown_timeout = 1.5
    config.keep_alive_timeout = KEEP_ALIVE
    config.ssl_handshake_timeout = KEEP_ALIVE
    config.h11_max_incomplete_size = HEAD_BYTES
    config.alpn_protocols = ["http/1.1"]
    config.websocket_max_message_size = longest_message
    config.websocket_ping_interval = PING_SECONDS
    config.include_server_header = False
    hypercorn.asyncio.run.TCPServer = partial(Connection, crowd)  # type: ignore[assignment,attr-defined]
    hypercorn.protocol.h11.WSStream = Socket  # type: ignore[attr-defined]
    hypercorn.protocol.H11Protocol = OneProtocol  # type: ignore[attr-defined]


class Connection(TCPServer):
    """One for which there is room, or that is told that there is none."""

    def __init__(self, crowd: Crowd, *parts: Any) -> None:
        super().__init__(*parts)
        self._crowd = crowd

    async def run(self) -> None:
        peer = self.writer.get_extra_info("peername")
        with self._crowd.place(str(peer[0]) if peer else "") as has_place:
            if has_place:
                await super().run()
                return
            with contextlib.suppress(OSError):
                self.writer.write(FULL)
                await self.writer.drain()
            await self._close()


class OneProtocol(H11Protocol):
    """HTTP/1.1 only. No browser speaks HTTP/2 in clear text."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def stream_send(self, event: Event) -> None:
        """Hypercorn closes after an answer to a request whose rest has not come, and mistakes what
        follows a refused handshake for frames, but tells nobody: a client that sends its next
        request on the same connection loses it."""
        if isinstance(event, Response) and event.status_code >= 200 and self._is_last(event):
            headers = [*event.headers, (b"connection", b"close")]
            event = replace(event, headers=headers)
        await super().stream_send(event)

    def _is_last(self, answer: Response) -> bool:
        """Whether nothing can follow this answer, without it saying so."""
        if any(name.lower() == b"connection" for name, _ in answer.headers):
            return False
        is_handshake = isinstance(self.connection, H11WSConnection)
        return is_handshake or self.connection.their_state is h11.SEND_BODY


class Socket(WSStream):
    """One that is over when it is over.

    Hypercorn's answers frames that come before the handshake is accepted with an error, but never
    tells the application, which waits for ever; it keeps the connection of a tab that has gone
    until the next ping; and what comes after both sides have said goodbye is an error in its log.
    """

    _over: asyncio.Event | None = None

    async def handle(self, event: Event) -> None:
        is_early = (
            isinstance(event, Body | Data) and not self.closed and not self.handshake.accepted
        )
        if is_early and self.state is not ASGIWebsocketState.HANDSHAKE:
            return  # it has been refused; who goes on all the same is not listened to
        # That is, something after the goodbyes.
        with contextlib.suppress(LocalProtocolError):
            await super().handle(event)
        if is_early:
            if self.app_put is not None:
                await self.app_put({"type": "websocket.disconnect", "code": ABNORMAL})
            await self.send(StreamClosed(stream_id=self.stream_id))
        if self._over is not None and self.closed:
            self._over.set()

    async def _send_pings(self) -> None:
        self._over = asyncio.Event()
        pings = asyncio.create_task(super()._send_pings(), name="pings")
        try:
            await self._over.wait()
        finally:
            pings.cancel()
