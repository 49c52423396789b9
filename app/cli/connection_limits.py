"""Limits of connections, enforced where bytes arrive: by address, request head and frame."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import h11
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Message
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from app.accounts.throttle import subnet_of
from app.audit import audit
from app.config import Settings
from app.net import in_networks

# Open connections of one address, so that nobody alone takes them all.


class ConnectionLimiter:
    """Counter of open connections. `most`: of one address, 0 for any number.

    Trusted proxies are not counted, since everybody comes through them.
    """

    def __init__(self, settings: Settings, most: int) -> None:
        self._proxies = settings.trusted_proxies
        self._most = most
        self._open: Counter[str] = Counter()
        self._full: set[str] = set()

    @classmethod
    def from_settings(cls, settings: Settings) -> ConnectionLimiter:
        """Make one that counts nobody where only this machine gets in."""
        return cls(settings, settings.connections_per_address if settings.has_accounts else 0)

    @contextmanager
    def acquire(self, address: str) -> Iterator[bool]:
        """Take a connection until the end of the block; False when there is no room for it."""
        if not self._most or in_networks(address, self._proxies):
            yield True
            return
        network = subnet_of(address)
        if self._open[network] >= self._most:
            self._log_once(network)
            yield False
            return
        self._open[network] += 1
        try:
            yield True
        finally:
            self._open[network] -= 1
            if not self._open[network]:
                del self._open[network]
                self._full.discard(network)

    def _log_once(self, network: str) -> None:
        """Log a full network once, until all of its connections are closed."""
        if network not in self._full:
            self._full.add(network)
            audit("limit-reached", limit="connections", address=network)


# Heads of requests that two programs could read differently, or that name nothing to ask for.


_SCHEMES: Final = (b"http://", b"https://")


class BadHead(Exception):
    """Head that is refused, with what is wrong with it as a sentence."""


def check_head(request: h11.Request) -> h11.Request:
    """Check a request; return it with its target as a path. Raises BadHead."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and b"content-length" in names:
        raise BadHead("A request has either Content-Length or Transfer-Encoding, not both.")
    if b"transfer-encoding" in names and request.http_version < b"1.1":
        raise BadHead("HTTP/1.0 knows no Transfer-Encoding.")
    if request.target.startswith(b"/"):
        return request
    return h11.Request(
        method=request.method,
        target=_path(request),
        headers=request.headers.raw_items(),
        http_version=request.http_version,
    )


def _path(request: h11.Request) -> bytes:
    """Path of a target with scheme and host, which clients of proxies send. Raises BadHead."""
    target = request.target
    if not target.lower().startswith(_SCHEMES):
        raise BadHead("The target of a request is a path, such as /.")
    authority, slash, rest = target.partition(b"://")[2].partition(b"/")
    authority, mark, query = authority.partition(b"?")
    if authority.lower() != dict(request.headers).get(b"host", b"").lower():
        raise BadHead("The target of this request names another host than its Host header.")
    return b"/" + (mark + query if mark else b"") + (slash if mark else b"") + rest


# Frames of WebSockets. wsproto asks its extensions about every frame's head, before it takes the
# payload, and about every chunk of payload as it comes. So the limits are extensions: a message
# that is too long is refused by the length that its first frame announces, and a compressed one
# is inflated no further than it may be long.


FRAME_BURST: Final = 2_000
FRAMES_PER_SECOND: Final = 100
"""Pings, chunks of messages, messages: an honest page sends a handful."""
MAX_UNFINISHED_BYTES: Final = 64 << 20
"""Of all sockets together, in messages of which the rest has not come yet."""
MESSAGE_SECONDS: Final = 30.0
"""From the first byte of a message to its last."""
_NO_RESERVED_BITS: Final = RsvBits(rsv1=False, rsv2=False, rsv3=False)


class FrameLimits(Extension):
    """Extension that refuses messages longer than `max_bytes`, and frames that come too fast."""

    name = "limits"

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._announced = self._finished = 0  # bytes: of this frame, of this message's before it
        self._is_control = False
        self._frames_left, self._counted_at = float(FRAME_BURST), clock()

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        """Check the announced length; called again for a frame whose head is incomplete."""
        self._is_control = opcode.iscontrol()
        if not self._is_control:
            if opcode is not Opcode.CONTINUATION:
                self._finished = 0
            self._announced = payload_length
            if self._finished + payload_length > self._max_bytes:
                return CloseReason.MESSAGE_TOO_BIG
        return _NO_RESERVED_BITS

    def frame_inbound_complete(
        self,
        proto: FrameDecoder | FrameProtocol,
        fin: bool,  # noqa: FBT001 - as wsproto asks
    ) -> bytes | CloseReason | None:
        if not self._is_control:
            self._finished += self._announced
        return None if self._has_allowance() else CloseReason.POLICY_VIOLATION

    def _has_allowance(self) -> bool:
        now = self._clock()
        earned = (now - self._counted_at) * FRAMES_PER_SECOND
        self._frames_left = min(FRAME_BURST, self._frames_left + earned) - 1
        self._counted_at = now
        return self._frames_left >= 0


class BoundedDeflate(PerMessageDeflate):
    """Compression by which nobody makes a message that is longer than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._inflated = 0

    def accept(self, offer: str) -> bool | str | None:
        try:
            return super().accept(offer)
        except ValueError:  # window bits that are no number: the client goes on without compression
            return None

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        if self._inbound_compressed is None:
            self._inflated = 0
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        is_compressed = self._inbound_compressed and self._inbound_is_compressible
        if not is_compressed or self._decompressor is None:
            return data
        budget = self._max_bytes - self._inflated
        try:
            inflated = self._decompressor.decompress(data, budget + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        if len(inflated) > budget:
            return CloseReason.MESSAGE_TOO_BIG
        if self._decompressor.eof:  # else zlib would keep whatever follows, for ever
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(inflated)
        return inflated


class LimitedConnection(Connection):
    """wsproto's decoder of one socket, with the limits beside what was negotiated."""

    def __init__(self, max_bytes: int, kind: ConnectionType, extensions: list[Extension]) -> None:
        super().__init__(kind, [*extensions, FrameLimits(max_bytes)])


class UnfinishedBytes:
    """Counter of the bytes that all sockets hold of incomplete messages."""

    def __init__(self, most: int = MAX_UNFINISHED_BYTES) -> None:
        self._most = most
        self.total = 0

    def add(self, size: int) -> bool:
        """Count these bytes; False when there is no room for them."""
        if self.total + size > self._most:
            return False
        self.total += size
        return True

    def remove(self, size: int) -> None:
        self.total -= size


class MessageBuffer:
    """Buffer for the chunks of one message, until it is whole."""

    def __init__(self, held: UnfinishedBytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._held = held
        self._clock = clock
        self._chunks: list[Any] = []
        self._size = 0
        self._began_at: float | None = None

    @property
    def is_overdue(self) -> bool:
        return self._began_at is not None and self._clock() - self._began_at > MESSAGE_SECONDS

    def extend(self, chunk: Message[Any]) -> bool:
        """Add a chunk; False when there is no room for it."""
        if self._began_at is None:
            self._began_at = self._clock()
        if not chunk.message_finished:
            if not self._held.add(len(chunk.data)):
                return False
            self._size += len(chunk.data)
        self._chunks.append(chunk.data)
        return True

    def take(self) -> dict[str, Any]:
        """Take the whole message as the application gets it; nothing is left here."""
        is_text = isinstance(self._chunks[0], str)
        whole = "".join(self._chunks) if is_text else b"".join(self._chunks)
        self.clear()
        return {
            "type": "websocket.receive",
            "text": whole if is_text else None,
            "bytes": None if is_text else whole,
        }

    def clear(self) -> None:
        self._held.remove(self._size)
        self._chunks, self._size, self._began_at = [], 0, None
