"""Frames that break the protocol, or stretch it: the connection may end, the server may not."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import pytest

from tests.e2e.server import Server
from tests.wire.raw import (
    BINARY,
    CLOSE,
    MORE,
    PING,
    PONG,
    TEXT,
    assert_serves,
    frame,
    goodbye,
    socket,
)

Outcome = Literal["taken", "pong", "refused", "parted"]
"""taken: the message arrived whole; pong: a ping was answered; refused: the connection ended and
nothing arrived; parted: the server said goodbye in return."""
POOR = "é".encode()
LIMIT = 2 << 20


@dataclass(frozen=True)
class Case:
    name: str
    sent: tuple[bytes, ...]
    outcome: Outcome

    def __str__(self) -> str:
        return self.name


def case(name: str, outcome: Outcome, *sent: bytes) -> Case:
    return Case(name, sent, outcome)


def bomb() -> bytes:
    """A frame of a few kilobytes that would unfold into 64 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(64 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return frame(packed[:-4], BINARY, reserved=4)


CASES = [
    # What is unusual but allowed.
    case("whole", "taken", frame(b"hello")),
    case("empty", "taken", frame(b"")),
    case("empty binary", "taken", frame(b"", BINARY)),
    case("binary", "taken", frame(b"\x00\xff", BINARY)),
    case("fragments", "taken", frame(b"he", fin=False), frame(b"llo", MORE)),
    case(
        "a fragment a byte", "taken",
        *(frame(b"x", TEXT if i == 0 else MORE, fin=i == 99) for i in range(100)),
    ),
    case("empty fragments", "taken", frame(b"", fin=False), frame(b"", MORE, fin=False),
         frame(b"x", MORE)),
    case("a letter across fragments", "taken", frame(POOR[:1], fin=False), frame(POOR[1:], MORE)),
    case("a ping between fragments", "taken", frame(b"a", fin=False), frame(b"p", PING),
         frame(b"b", MORE)),
    case("a pong between fragments", "taken", frame(b"a", fin=False), frame(b"p", PONG),
         frame(b"b", MORE)),
    case("all in one segment", "taken", frame(b"p", PING) + frame(b"a", fin=False)
         + frame(b"b", MORE)),
    case("an unasked pong", "taken", frame(b"x" * 125, PONG), frame(b"hello")),
    case("one byte at a time", "taken", *(bytes([b]) for b in frame(b"hello"))),
    case("a length of two bytes", "taken", frame(b"x" * 300)),
    case("a length of eight bytes", "taken", frame(b"x" * 70_000)),
    case("as large as may be", "taken", frame(b"x" * LIMIT)),
    case("ping", "pong", frame(b"x", PING)),
    case("an empty ping", "pong", frame(b"", PING)),
    case("the largest ping", "pong", frame(b"x" * 125, PING)),
    case("a thousand pings", "pong", frame(b"x", PING) * 1000),
    # Goodbyes.
    case("goodbye", "parted", goodbye(1000, b"bye")),
    case("goodbye without a code", "parted", frame(b"", CLOSE)),
    case("goodbye with a code of our own", "parted", goodbye(4000)),
    case("goodbye between fragments", "parted", frame(b"a", fin=False), goodbye(1001)),
    case("more after goodbye", "parted", goodbye(1000) + frame(b"hello") * 3),
    case("goodbye twice", "parted", goodbye(1000) * 2 + frame(b"hello")),  # at once: the system
    # resets what comes to a socket that is closed, and may take the goodbye with it
    case("half a code", "refused", frame(b"\x03", CLOSE)),
    case("a reason that is no text", "refused", goodbye(1000, b"\xff\xfe")),
    case("a reason that is too long", "refused", frame(b"\x03\xe8" + b"x" * 124, CLOSE)),
    *(case(f"code {code}", "refused", goodbye(code))
      for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    case("goodbye in fragments", "refused", frame(b"\x03", CLOSE, fin=False),
         frame(b"\xe8", MORE)),
    # What nobody may send.
    case("unmasked", "refused", frame(b"hello", masked=False)),
    case("an unmasked ping", "refused", frame(b"x", PING, masked=False)),
    case("unmasked in the middle", "refused", frame(b"a", fin=False),
         frame(b"b", MORE, masked=False)),
    *(case(f"reserved bit {bit}", "refused", frame(b"x", reserved=bit)) for bit in (1, 2, 4, 7)),
    *(case(f"opcode {code:x}", "refused", frame(b"x", code))
      for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    case("a large ping", "refused", frame(b"x" * 126, PING)),
    case("a large pong", "refused", frame(b"x" * 126, PONG)),
    case("a ping in fragments", "refused", frame(b"x", PING, fin=False), frame(b"y", MORE)),
    case("nothing to go on with", "refused", frame(b"x", MORE)),
    case("nothing to go on with, yet", "refused", frame(b"x", MORE, fin=False)),
    case("a new message in the middle", "refused", frame(b"a", fin=False), frame(b"b")),
    case("another kind in the middle", "refused", frame(b"a", fin=False), frame(b"b", BINARY)),
    # Text that is none.
    case("no UTF-8", "refused", frame(b"a\xff")),
    case("a surrogate", "refused", frame(b"\xed\xa0\x80")),
    case("too long a spelling", "refused", frame(b"\xc0\xaf")),
    case("half a letter", "refused", frame(POOR[:1])),
    case("half a letter in fragments", "refused", frame(b"a", fin=False),
         frame(POOR[:1], MORE)),
    case("half a letter, then another", "refused", frame(POOR[:1], fin=False),
         frame(b"a", MORE)),
    # Sizes.
    case("too large", "refused", frame(b"x" * (LIMIT + 1))),
    case("too large in fragments", "refused", frame(b"x" * LIMIT, fin=False),
         frame(b"x" * LIMIT, MORE, fin=False)),
    case("too large in fragments without end", "refused", frame(b"x" * 70_000, fin=False),
         *[frame(b"x" * 70_000, MORE, fin=False)] * 100),
    case("a length of 2^63", "refused", frame(b"x", length=1 << 63)),
    case("a length in more bytes than needed", "refused", frame(b"x", wide=True)),
    case("a length that is too small", "refused", frame(b"x" * 20, length=3) + b"\xff" * 20),
]  # fmt: skip


@pytest.mark.parametrize("given", CASES, ids=str)
async def test_a_broken_frame_closes_its_connection_at_most(server: Server, given: Case) -> None:
    async with socket(server.port) as raw:
        await raw.send(*given.sent)
        match given.outcome:
            case "taken":
                assert await raw.hear_until(TEXT, b"notice")
            case "pong":
                assert await raw.hear_until(PONG)
            case "parted":
                assert await raw.hear_until(CLOSE)
                await raw.ended()
            case "refused":
                assert not await raw.hear_until(TEXT, b"notice")


async def test_a_frame_that_inflates_into_too_much_is_refused(server: Server) -> None:
    async with socket(server.port, {"Sec-WebSocket-Extensions": "permessage-deflate"}) as raw:
        await raw.send(bomb())
        assert not await raw.hear_until(TEXT, b"notice")


@pytest.mark.parametrize("length", [5, 200, 1 << 20, (1 << 63) - 1])
async def test_a_frame_whose_announced_length_never_comes_breaks_nothing(
    server: Server, length: int
) -> None:
    """Nothing can be said against it; it costs what has come, until its sender goes."""
    async with socket(server.port) as raw:
        await raw.send(frame(b"abc", length=length))
        await assert_serves(server.port)
