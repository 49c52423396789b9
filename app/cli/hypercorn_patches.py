"""Hypercorn with its bugs fixed and our limits built in. Nothing else reaches into its parts.

It is written for one version, which `tests/wire/test_hypercorn.py` pins.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import h11
import hypercorn.asyncio.run
import hypercorn.protocol
import hypercorn.protocol.h11
import hypercorn.protocol.ws_stream
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol.events import Body, Data, Event, Request, Response, StreamClosed
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from app.cli.connection_limits import (
    BadHead,
    BoundedDeflate,
    ConnectionLimiter,
    LimitedConnection,
    MessageBuffer,
    UnfinishedBytes,
    check_head,
)

HYPERCORN_VERSION: Final = "0.18.0"
MISSED_PINGS: Final = 2
"""Unanswered in a row: then a peer is gone, although its connection looks open."""
MAX_PING_FACTOR: Final = 16
"""How much longer the pause between two pings may become where nothing else goes through."""
HEARTBEAT_CHARS: Final = 2
"""Of what the application says to a tab for which it has no news."""
LINGER_SECONDS: Final = 1.0
"""Time for a refused peer to read why; what it still sends is dropped."""
ABNORMAL: Final = 1006


def install(longest_message: int, limiter: ConnectionLimiter) -> None:
    """Have every connection from now on served by the classes below."""
    hypercorn.asyncio.run.TCPServer = partial(LimitedTCPServer, limiter)  # type: ignore[assignment,attr-defined]
    hypercorn.protocol.H11Protocol = Http11Only  # type: ignore[attr-defined]
    protocol: Any = hypercorn.protocol.h11
    protocol.WSStream = partial(PatchedWSStream, UnfinishedBytes())
    streams: Any = hypercorn.protocol.ws_stream
    streams.PerMessageDeflate = partial(BoundedDeflate, longest_message)
    streams.Connection = partial(LimitedConnection, longest_message)


def refusal(status: str, sentence: str, *headers: bytes) -> bytes:
    """A whole answer, after which the connection ends."""
    content = sentence.encode() + b"\n"
    return b"\r\n".join(
        (
            b"HTTP/1.1 " + status.encode(),
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Length: %d" % len(content),
            b"Cache-Control: no-store",
            *headers,
            b"Connection: close",
            b"",
            content,
        )
    )


TOO_MANY_CONNECTIONS: Final = refusal(
    "429 Too Many Requests",
    "Too many connections are open from this address. Close some pages, please.",
    b"Retry-After: 5",
)


@dataclass(frozen=True)
class PeerGone(Event):
    """Event of a stream whose peer answers no more."""


@dataclass(frozen=True)
class ConnectionAborted(ConnectionEvent):
    """Event that a connection gets then: nothing that still waits to be sent will arrive."""


class LimitedTCPServer(TCPServer):
    """Connection within the limit of its address, or one that is refused."""

    _has_ended = False

    def __init__(self, limiter: ConnectionLimiter, *parts: Any) -> None:
        super().__init__(*parts)
        self._limiter = limiter

    async def run(self) -> None:
        peer = self.writer.get_extra_info("peername")
        with self._limiter.acquire(str(peer[0]) if peer else "") as has_place:
            if has_place:
                await super().run()
                return
            with contextlib.suppress(OSError):
                self.writer.write(TOO_MANY_CONNECTIONS)
                await self.writer.drain()
            await self._close()

    async def protocol_send(self, event: ConnectionEvent) -> None:
        if isinstance(event, ConnectionAborted):
            self.writer.transport.abort()
        elif not (isinstance(event, Updated) and self._has_ended):
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        """Note the end: Hypercorn lets a connection that its peer has closed idle on, and count."""
        await super()._read_data()
        self._has_ended = True
        await self.idle_task.stop()


class Http11Only(H11Protocol):
    """HTTP/1.1 only. No browser speaks HTTP/2 in clear text."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        """Refuse a request that the application could take for another than a proxy did."""
        try:
            request = check_head(request)
        except BadHead as problem:
            await self._refuse(str(problem))
        else:
            await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        await self._refuse("Wick did not understand this request.", status_code)

    async def _refuse(self, sentence: str, status_code: int = 400) -> None:
        phrase = {431: "Request Header Fields Too Large", 501: "Not Implemented"}
        status = f"{status_code} {phrase.get(status_code, 'Bad Request')}"
        await self.send(RawData(refusal(status, sentence)))
        await self.send(Closed())

    async def stream_send(self, event: Event) -> None:
        """Hypercorn closes after an answer to a request whose rest has not come, and mistakes what
        follows a refused handshake for frames, but tells nobody: a client that sends its next
        request on the same connection loses it."""
        if isinstance(event, PeerGone):
            await self.send(ConnectionAborted())
            return
        if isinstance(event, Response) and event.status_code >= 200 and self._is_last(event):
            headers = [*event.headers, (b"connection", b"close")]
            event = replace(event, headers=headers)
        await super().stream_send(event)

    def _is_last(self, answer: Response) -> bool:
        """Tell whether nothing can follow this answer, without it saying so."""
        if any(name.lower() == b"connection" for name, _ in answer.headers):
            return False
        is_handshake = isinstance(self.connection, H11WSConnection)
        return is_handshake or self.connection.their_state is h11.SEND_BODY


class PatchedWSStream(WSStream):
    """A WebSocket that is bounded, that notices a peer who is gone, and is over when it is over.

    Hypercorn's hoards what comes after a message that is too long; it answers frames that come
    before the handshake is accepted with an error, but never tells the application, which waits for
    ever; it keeps the connection of a tab that has gone until the next ping, and never asks whether
    pings are answered; and what comes after both sides have closed is an error in its log.
    """

    def __init__(self, held: UnfinishedBytes, app: Any, config: Config, *rest: Any) -> None:
        # The application's queue counts messages, each of which may be as long as any.
        config = copy.copy(config)
        config.max_app_queue_size = 1
        super().__init__(app, config, *rest)
        self._message = MessageBuffer(held)
        self._over = asyncio.Event()
        self._app_ended = asyncio.Event()
        self._is_refused = self._is_heard = self._is_busy = self._waits_for_app = False

    async def handle(self, event: Event) -> None:
        is_input = isinstance(event, Body | Data)
        self._is_heard |= is_input
        if is_input and self._is_refused:
            return  # who goes on all the same is not listened to
        is_early = is_input and not self.closed and not self.handshake.accepted
        if is_early and self.state is not ASGIWebsocketState.HANDSHAKE:
            return  # likewise
        # That is, something after the goodbyes.
        with contextlib.suppress(LocalProtocolError):
            await super().handle(event)
        if isinstance(event, Request) and self.app_put is not None:
            self.app_put = partial(self._put, self.app_put)
        if is_early:
            if self.app_put is not None:
                await self.app_put({"type": "websocket.disconnect", "code": ABNORMAL})
            await self.send(StreamClosed(stream_id=self.stream_id))
        if self.closed:
            self._message.clear()
            self._over.set()

    async def app_send(self, message: Any) -> None:
        if message is None:
            self._app_ended.set()
            if self._is_refused:
                return  # it lingers
        else:
            self._is_busy |= len(message.get("text") or "") > HEARTBEAT_CHARS
        await super().app_send(message)

    async def _put(self, put: Callable[[Any], Awaitable[None]], message: Any) -> None:
        """Hand it to the application as soon as that takes it, unless it has ended."""
        if self._app_ended.is_set():
            return
        waiting = [asyncio.ensure_future(put(message)), asyncio.create_task(self._app_ended.wait())]
        self._waits_for_app = True
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits_for_app = False
            for one in waiting:
                one.cancel()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                self._is_busy = True
                if not self._message.extend(event):
                    await self._refuse(CloseReason.TRY_AGAIN_LATER)
                    return
                if event.message_finished and self.app_put is not None:
                    await self.app_put(self._message.take())
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                await self._part(event)
                return

    async def _part(self, goodbye: CloseConnection) -> None:
        """Answer the peer's goodbye, or wsproto's because of what the peer has sent."""
        if self.connection.state is ConnectionState.OPEN:
            await self._refuse(goodbye.code)
            return
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(goodbye.response())
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _refuse(self, code: int) -> None:
        """Take no more, say why, and close."""
        self._is_refused = True
        self._message.clear()
        await self._send_wsproto_event(CloseConnection(code=code))
        self.task_group.spawn(self._linger)
        if self.app_put is not None:
            await self.app_put({"type": "websocket.disconnect", "code": code})

    async def _linger(self) -> None:
        """Wait a while: a connection closed at once is reset, and its peer never gets the code."""
        if not await self._is_over_within(LINGER_SECONDS):
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _is_over_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set()

    async def _send_pings(self) -> None:
        """Send pings until it is over, or they remain unanswered; ever fewer while nothing else
        goes through, and as many as before once one remains unanswered."""
        seconds, missed = self.config.websocket_ping_interval or 0.0, 0
        pause = seconds
        while missed < MISSED_PINGS:
            self._is_heard = self._is_busy = False
            sending = asyncio.create_task(self._send_wsproto_event(Ping()))
            is_over = await self._is_over_within(pause)
            sending.cancel()
            if is_over:
                return
            missed = 0 if self._is_heard or self._waits_for_app else missed + 1
            is_quick = missed or self._is_busy
            pause = seconds if is_quick else min(2 * pause, MAX_PING_FACTOR * seconds)
            if self._message.is_overdue and not self._is_refused:
                await self._refuse(CloseReason.POLICY_VIOLATION)
        await self.send(PeerGone(stream_id=self.stream_id))
