"""Handshakes that are none, and sockets that leave or dawdle at every stage."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.e2e.server import Server
from tests.wire.raw import (
    CLOSE,
    MORE,
    PING,
    PONG,
    TEXT,
    Raw,
    assert_serves,
    frame,
    goodbye,
    socket,
    upgrade,
    wire,
)

KEY = base64.b64encode(bytes(16)).decode()
REFUSED: dict[str, tuple[set[int], dict[str, Any]]] = {
    "an old version": ({400, 426}, {"headers": {"Sec-WebSocket-Version": "8"}}),
    "no version": ({400, 426}, {"headers": {"Sec-WebSocket-Version": None}}),
    "nonsense for a version": ({400, 426}, {"headers": {"Sec-WebSocket-Version": "13, 8"}}),
    "no key": ({400}, {"headers": {"Sec-WebSocket-Key": None}}),
    "no Upgrade": ({400, 404}, {"headers": {"Upgrade": None}}),
    "another Upgrade": ({400, 404}, {"headers": {"Upgrade": "websockets"}}),
    "no Connection": ({400, 404}, {"headers": {"Connection": None}}),
    "another Connection": ({400, 404}, {"headers": {"Connection": "keep-alive"}}),
    "no Host": ({400, 403}, {"headers": {"Host": None}}),
    "two Hosts": ({400}, {"more": "Host: evil.example\r\n"}),
    "two Origins": ({400, 403}, {"more": "Origin: http://evil.example\r\n"}),
    "no Origin": ({403}, {"headers": {"Origin": None}}),
    "a foreign Origin": ({403}, {"headers": {"Origin": "http://evil.example"}}),
    "Origin null": ({403}, {"headers": {"Origin": "null"}}),
    "a rebound name": (
        {403},
        {"headers": {"Host": "evil.example", "Origin": "http://evil.example"}},
    ),
    "HTTP/1.0": ({400, 403, 404}, {"version": "1.0"}),
    "POST": ({400, 403, 404, 405}, {"method": "POST"}),
    "a header without a colon": ({400}, {"more": "nonsense\r\n"}),
    "a folded header": ({400, 101}, {"more": "X-Long: a\r\n b\r\n"}),
    "NUL in a header": ({400}, {"more": "X-Odd: a\0b\r\n"}),
    "huge headers": ({400, 431}, {"more": f"X-Long: {'x' * 70_000}\r\n"}),
    "many headers": ({400, 431}, {"more": "X-One: 1\r\n" * 50_000}),
    "HTTP/2 at once": ({403, 405}, {"method": "PRI", "version": "2.0"}),
    "HTTP/2 by upgrade": ({400}, {"headers": {"Upgrade": "h2c"}}),
    "a body": ({101, 400}, {"more": "Content-Length: 5\r\n"}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_broken_handshake_gets_its_status(server: Server, name: str) -> None:
    allowed, given = REFUSED[name]
    async with wire(server.port) as raw:
        await raw.send(upgrade(server.port, **given))
        assert (await raw.head())[0] in allowed


async def test_a_refused_handshake_is_the_end_of_its_connection(server: Server) -> None:
    """What follows it, be it frames or a request, is neither heard nor a fault of the server."""
    foreign = {"Host": "evil.example", "Origin": "http://evil.example"}
    for follows in (frame(b"hello"), b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        async with wire(server.port) as raw:
            await raw.send(upgrade(server.port, headers=foreign))
            status, head = await raw.head()
            assert status == 403
            assert "connection: close" in head
            await raw.send(follows)
            assert b"HTTP/1.1" not in await raw.rest()


@pytest.mark.parametrize("key", ["", "short", KEY + KEY, "\xff" * 24, "=" * 24])
async def test_a_key_that_is_none_gives_nobody_anything(server: Server, key: str) -> None:
    """It only proves that a WebSocket was meant; what matters is that it breaks nothing."""
    async with wire(server.port) as raw:
        await raw.send(upgrade(server.port, {"Sec-WebSocket-Key": key}))
        assert (await raw.head())[0] in {101, 400}


async def test_the_spelling_of_headers_does_not_matter(server: Server) -> None:
    odd = {"Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"}
    async with socket(server.port, odd) as raw:
        await raw.send(frame(b"hello"))
        assert await raw.hear_until(TEXT, b"did not understand")


async def test_frames_that_come_with_the_handshake_are_taken(server: Server) -> None:
    async with wire(server.port) as raw:
        await raw.send(upgrade(server.port) + frame(b"hello"))
        assert (await raw.head())[0] == 400
        await raw.ended()


async def test_a_handshake_that_comes_byte_by_byte_is_taken(server: Server) -> None:
    async with wire(server.port) as raw:
        await raw.send(*(bytes([byte]) for byte in upgrade(server.port)))
        assert (await raw.head())[0] == 101


BEGUN = b"GET / HTTP/1.1\r\nHost: 127"
STAGES: dict[str, tuple[bytes, ...]] = {
    "at once": (),
    "in the handshake": (BEGUN,),
    "in a frame's head": (b"\x81",),
    "in a length": (b"\x81\xfe\x01",),
    "in a mask": (b"\x81\x85\x01\x02",),
    "in a payload": (frame(b"abc", length=9),),
    "between fragments": (frame(b"abc", fin=False),),
    "in a letter": (frame(b"\xc3", fin=False), frame(b"", MORE, fin=False)),
    "after a prompt": (
        frame(json.dumps({"text": "x", "client_id": "a" * 16, "model": ""}).encode()),
    ),
    "after a ping": (frame(b"", PING),),
    "after goodbye": (goodbye(1000),),
}


@pytest.mark.parametrize("politely", [True, False], ids=["end", "reset"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_leaves_at_any_stage_breaks_nothing(
    server: Server, stage: str, politely: bool
) -> None:
    """With an end of the stream, half-open, or with a reset."""

    async def leave(raw: Raw) -> None:
        await raw.send(*STAGES[stage])
        if not politely:
            raw.vanish()
        elif stage in {"at once", "in the handshake"}:
            raw.writer.write_eof()
        else:
            raw.writer.write_eof()
            await raw.ended()

    if stage in {"at once", "in the handshake"}:
        async with wire(server.port) as raw:
            await leave(raw)
    else:
        async with socket(server.port) as raw:
            await leave(raw)
    await assert_serves(server.port)


async def test_a_client_that_never_reads_breaks_nothing(server: Server) -> None:
    """Pings whose pongs nobody takes: the server stops reading instead of hoarding them."""
    async with socket(server.port) as raw:
        raw.writer.transport.set_write_buffer_limits(high=1 << 20)
        raw.writer.write(frame(b"x" * 125, PING) * 20_000)
        await assert_serves(server.port)


async def test_a_flood_is_closed_as_against_the_rules(server: Server) -> None:
    async with socket(server.port) as raw:
        await raw.send(frame(b"{}") * 200)
        while (heard := await raw.hear()) is not None and heard.opcode != CLOSE:
            pass
        assert heard is not None
        assert heard.code == 1008


async def test_many_sockets_at_once_are_served(server: Server) -> None:
    async with socket(server.port) as one, socket(server.port) as two:
        for raw in (one, two):
            await raw.send(frame(b"x", fin=False))
        await one.send(frame(b"x" * 10, 3))
        await two.send(frame(b"y", MORE), frame(b"z", PING))
        assert await two.hear_until(PONG)
        assert not await one.hear_until(PONG)
