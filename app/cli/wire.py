"""What the server beneath the application allows on a connection, and three faults of it mended.

Hypercorn's own timeout for connections that say nothing (KEEP_ALIVE) also bounds how long a
request's head may take; how long its body may take is the application's (BODY_TIMEOUT). There is
no limit on silence beyond those: streams of events and sockets are silent for as long as a model
thinks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import h11
import hypercorn.protocol
import hypercorn.protocol.h11
from hypercorn.config import Config
from hypercorn.protocol.events import Body, Data, Event, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from wsproto.utilities import LocalProtocolError

KEEP_ALIVE = 5.0
HEAD_BYTES = 16 << 10
PING_SECONDS = 20.0
ABNORMAL = 1006


def limit(config: Config, longest_message: int) -> None:
    """`longest_message`: bytes of one message on a socket."""
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
    hypercorn.protocol.h11.WSStream = Socket  # type: ignore[attr-defined]
    hypercorn.protocol.H11Protocol = OneProtocol  # type: ignore[attr-defined]


class OneProtocol(H11Protocol):
    """HTTP/1.1 only. No browser speaks HTTP/2 in clear text."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass


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
