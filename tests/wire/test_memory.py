"""What sockets send is bounded where it arrives: in memory, and in how long others wait."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import psutil
import pytest
from wsproto.events import TextMessage
from wsproto.frame_protocol import CloseReason, FrameDecoder, Opcode, RsvBits

from app.cli.connection_limits import (
    FRAME_BURST,
    FRAMES_PER_SECOND,
    MESSAGE_SECONDS,
    BoundedDeflate,
    FrameLimits,
    MessageBuffer,
    UnfinishedBytes,
)
from tests.e2e.server import Server
from tests.wire.raw import CLOSE, MORE, PING, TEXT, Raw, frame, socket

ANNOUNCED = 200_000_000
SPACES = b" " * (1 << 20)
MOST_MEGABYTES = 60
"""By which the server may have grown: far below what each of these once took."""
DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}


def memory(server: Server) -> float:
    return float(psutil.Process(server.pid).memory_info().rss) / 1e6


@pytest.fixture
def bounded(server: Server) -> Iterator[None]:
    before = memory(server)
    yield
    assert memory(server) < before + MOST_MEGABYTES


async def code_of_end(raw: Raw) -> int:
    while (heard := await raw.hear()) is not None:
        if heard.opcode == CLOSE:
            return heard.code
    return 0


def long_head() -> bytes:
    return b"\x81\xff" + struct.pack("!Q", ANNOUNCED) + bytes(4)


async def test_a_message_is_refused_by_the_length_it_announces(server: Server) -> None:
    async with socket(server.port) as raw:
        await raw.send(long_head())
        assert await code_of_end(raw) == CloseReason.MESSAGE_TOO_BIG


@pytest.mark.usefixtures("bounded")
async def test_a_client_that_sends_on_after_a_refusal_is_cut_off(server: Server) -> None:
    async with socket(server.port) as raw:
        await raw.send(long_head(), *[SPACES] * 200)
        await raw.rest()
        assert raw.is_over


@pytest.mark.usefixtures("bounded")
async def test_fragments_that_are_too_large_together_are_refused(server: Server) -> None:
    async with socket(server.port) as raw:
        await raw.send(frame(SPACES, TEXT, fin=False), *[frame(SPACES, MORE, fin=False)] * 3)
        assert await code_of_end(raw) == CloseReason.MESSAGE_TOO_BIG


def packed(blocks: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(SPACES) for _ in range(blocks)]
    return (b"".join(parts) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.usefixtures("bounded")
async def test_a_small_frame_that_inflates_to_a_gigabyte_is_refused(server: Server) -> None:
    bomb = frame(packed(1000), reserved=4)
    async with socket(server.port, DEFLATE) as raw:
        await raw.send(bomb)
        assert await code_of_end(raw) == CloseReason.MESSAGE_TOO_BIG


async def test_compressed_messages_are_taken(server: Server) -> None:
    """One after another, in pieces too: the decoder goes on where it was."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    async with socket(server.port, DEFLATE) as raw:
        for cut in (1, 5):
            data = (packer.compress(b"x" * 1_900_000) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            await raw.send(frame(data[:cut], reserved=4, fin=False), frame(data[cut:], MORE))
            # It answers in frames that are compressed as well.
            assert await raw.hear_until(TEXT)


async def test_window_bits_that_are_no_number_are_refused(server: Server) -> None:
    odd = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits=many"}
    async with socket(server.port, odd) as raw:
        await raw.send(frame(b"hello"))
        assert await raw.hear_until(TEXT, b"did not understand")


async def test_a_compressed_stream_that_has_ended_takes_no_more(server: Server) -> None:
    """zlib would keep what follows, message after message."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    ended = packer.compress(b"{}") + packer.flush(zlib.Z_FINISH)
    async with socket(server.port, DEFLATE) as raw:
        await raw.send(frame(ended + b"x" * 1000, reserved=4))
        assert await code_of_end(raw) == CloseReason.INVALID_FRAME_PAYLOAD_DATA


@pytest.mark.parametrize(
    "piece", [frame(b"", PING), frame(b"", MORE, fin=False)], ids=["pings", "pieces"]
)
async def test_frames_without_end_are_refused(server: Server, piece: bytes) -> None:
    async with socket(server.port) as raw:
        await raw.send(frame(b"", TEXT, fin=False), *[piece * 1000] * 10)
        assert await code_of_end(raw) == CloseReason.POLICY_VIOLATION


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


DECODER = FrameDecoder(client=False)
PLAIN = RsvBits(rsv1=False, rsv2=False, rsv3=False)


def test_frames_are_counted_by_time() -> None:
    clock = Clock()
    limits = FrameLimits(10, clock)

    def takes() -> bool:
        limits.frame_inbound_header(DECODER, Opcode.PING, PLAIN, 0)
        return limits.frame_inbound_complete(DECODER, fin=True) is None

    assert all(takes() for _ in range(FRAME_BURST))
    assert not takes()
    clock.now += 2 / FRAMES_PER_SECOND
    assert takes()


def test_a_head_that_is_looked_at_again_counts_once() -> None:
    limits = FrameLimits(10, Clock())
    for opcode, length in ((Opcode.TEXT, 6), (Opcode.PING, 100), (Opcode.CONTINUATION, 4)):
        for _ in range(3):
            assert limits.frame_inbound_header(DECODER, opcode, PLAIN, length) == PLAIN
        assert limits.frame_inbound_complete(DECODER, fin=False) is None
    said = limits.frame_inbound_header(DECODER, Opcode.CONTINUATION, PLAIN, 1)
    assert said is CloseReason.MESSAGE_TOO_BIG


def test_inflating_stops_at_the_limit() -> None:
    deflate = BoundedDeflate(100)
    deflate.accept("permessage-deflate")
    compressed = RsvBits(rsv1=True, rsv2=False, rsv3=False)
    deflate.frame_inbound_header(DECODER, Opcode.TEXT, compressed, 5)
    assert deflate.frame_inbound_payload_data(DECODER, packed(1)) is CloseReason.MESSAGE_TOO_BIG


def test_unfinished_messages_of_all_sockets_share_one_limit() -> None:
    held = UnfinishedBytes(10)
    one, two = MessageBuffer(held), MessageBuffer(held)
    assert one.extend(TextMessage(data="123456", message_finished=False))
    assert not two.extend(TextMessage(data="12345", message_finished=False))
    assert two.extend(TextMessage(data="whole, and handed on at once"))
    assert one.extend(TextMessage(data="7"))
    assert one.take()["text"] == "1234567"
    assert held.total == 0


def test_a_message_that_takes_too_long_is_overdue() -> None:
    clock = Clock()
    buffer = MessageBuffer(UnfinishedBytes(), clock)
    assert not buffer.is_overdue
    buffer.extend(TextMessage(data="x", message_finished=False))
    clock.now += MESSAGE_SECONDS + 1
    overdue = buffer.is_overdue
    buffer.clear()
    assert [overdue, buffer.is_overdue] == [True, False]
