"""Limits of what a WebSocket may send, enforced where wsproto decodes its bytes.

wsproto asks its extensions about every frame's head, before it takes the payload, and about every
piece of payload as it comes. So the limits are extensions: a message that is too long is refused by
the length that its first frame announces, and a compressed one is inflated no further than it may
be long.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Any, Final

from wsproto.connection import Connection, ConnectionType
from wsproto.events import Message
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

FRAME_BURST: Final = 2_000
FRAMES_PER_SECOND: Final = 100
"""Pings, pieces of messages, messages: an honest page sends a handful."""
MAX_UNFINISHED_BYTES: Final = 64 << 20
"""Of all sockets together, in messages of which the rest has not come yet."""
MESSAGE_SECONDS: Final = 30.0
"""From the first byte of a message to its last."""
NO_RESERVED_BITS: Final = RsvBits(rsv1=False, rsv2=False, rsv3=False)


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
        return NO_RESERVED_BITS

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
    """Buffer for the pieces of one message, until it is whole."""

    def __init__(self, held: UnfinishedBytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._held = held
        self._clock = clock
        self._pieces: list[Any] = []
        self._size = 0
        self._began_at: float | None = None

    @property
    def is_overdue(self) -> bool:
        return self._began_at is not None and self._clock() - self._began_at > MESSAGE_SECONDS

    def extend(self, piece: Message[Any]) -> bool:
        """Add a piece; False when there is no room for it."""
        if self._began_at is None:
            self._began_at = self._clock()
        if not piece.message_finished:
            if not self._held.add(len(piece.data)):
                return False
            self._size += len(piece.data)
        self._pieces.append(piece.data)
        return True

    def take(self) -> dict[str, Any]:
        """Take the whole message as the application gets it; nothing is left here."""
        is_text = isinstance(self._pieces[0], str)
        whole = "".join(self._pieces) if is_text else b"".join(self._pieces)
        self.clear()
        return {
            "type": "websocket.receive",
            "text": whole if is_text else None,
            "bytes": None if is_text else whole,
        }

    def clear(self) -> None:
        self._held.remove(self._size)
        self._pieces, self._size, self._began_at = [], 0, None
