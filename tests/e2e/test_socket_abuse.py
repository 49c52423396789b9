"""Programs that speak to the socket without a page in between, and do it badly."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from tests.e2e.conftest import TINY
from tests.e2e.server import Server
from tests.patience import PATIENCE

MALFORMED: dict[str, str | bytes] = {
    "no json": "hello",
    "cut off": '{"text": "hello", "client_id": ',
    "a list": "[]",
    "a number": "1e999",
    "null": "null",
    "wrong types": '{"text": 1, "client_id": ["x"], "model": {}}',
    "no text": '{"client_id": "0123456789abcdef"}',
    "no id": '{"text": "hello"}',
    "bad id": '{"text": "hello", "client_id": "../../etc/passwd"}',
    "deep": "[" * 100_000,
    "deep text": '{"text":' * 50_000,
    "long number": '{"text": ' + "9" * 100_000 + "}",
    "binary": b"\x00\xff\xfe",
    "empty": "",
}


def path(chat_id: str | None = None) -> str:
    return f"/chats/{chat_id or secrets.token_hex(8)}/live"


@asynccontextmanager
async def socket(
    server: Server, chat_id: str | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    given = {
        "origin": Origin(server.origin),
        "max_size": None,
        "proxy": None,
        "close_timeout": 1,
    } | options
    async with (
        asyncio.timeout(PATIENCE),
        connect(server.origin.replace("http", "ws") + path(chat_id), **given) as connection,
    ):
        yield connection


def prompt(text: str, client_id: str | None = None, **more: object) -> str:
    values = {"text": text, "client_id": client_id or secrets.token_hex(16), "model": TINY}
    return json.dumps(values | more)


async def heard(connection: ClientConnection, *words: str) -> str:
    """Listens until all of these have been said."""
    said = ""
    while not all(word in said for word in words):
        frame = await connection.recv()
        assert isinstance(frame, str)
        said += frame
    return said


async def assert_answers(server: Server) -> None:
    """The server still does its work for somebody who behaves."""
    async with socket(server) as connection:
        await connection.send(prompt("Hello"))
        await heard(connection, 'data-accepted="yes"', 'data-status="done"')


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_message_gets_a_sentence(server: Server, name: str) -> None:
    async with socket(server) as connection:
        await connection.send(MALFORMED[name])
        await heard(connection, "Wick did not understand this message.")
        await connection.send(prompt("Hello"))
        assert await heard(connection, 'data-accepted="yes"', 'data-status="done"')


async def test_a_message_of_a_megabyte_gets_a_sentence(server: Server) -> None:
    async with socket(server) as connection:
        await connection.send(prompt("x" * 1_000_000))
        await heard(connection, 'data-accepted="no"', "1,000,000 characters long")
    await assert_answers(server)


async def test_an_endless_message_ends_the_connection_only(server: Server) -> None:
    async with socket(server) as connection:
        with suppress(ConnectionClosed):
            await connection.send("x" * 5_000_000)
        await connection.wait_closed()
    await assert_answers(server)


async def test_invalid_utf8_ends_the_connection_only(server: Server) -> None:
    async with socket(server) as connection:
        await connection.send(b'{"text": "\xff\xfe\xc0\xaf"}', text=True)
        await connection.wait_closed()
    await assert_answers(server)


async def test_surrogates_and_nul_do_not_break_anything(server: Server) -> None:
    chat_id = secrets.token_hex(8)
    async with socket(server, chat_id) as connection:
        message = '{"text": "a\\ud800b\\u0000c", "client_id": "0123456789ab", "model": "tiny"}'
        await connection.send(message)
        await heard(connection, 'data-accepted="yes"', 'data-status="done"')
    assert server.messages(chat_id, "user")[0]["text"] == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("count", [100, 500])
async def test_a_flood_is_closed_as_against_the_rules(server: Server, count: int) -> None:
    # A browser hears whatever comes, also while nobody takes it.
    async with socket(server, ping_interval=None, max_queue=None) as connection:
        with suppress(ConnectionClosed):
            for _ in range(count):
                await connection.send("{}")
        try:
            async with asyncio.timeout(PATIENCE):
                await connection.wait_closed()
        finally:
            connection.transport.abort()
        assert connection.close_code == 1008
    await assert_answers(server)


async def test_the_same_submission_twice_is_one_message(server: Server) -> None:
    chat_id, client_id = secrets.token_hex(8), secrets.token_hex(16)
    async with socket(server, chat_id) as one, socket(server, chat_id) as other:
        await asyncio.gather(*(c.send(prompt("Hello", client_id)) for c in (one, other, one)))
        await heard(one, 'data-accepted="yes"', 'data-status="done"')
        await heard(other, 'data-accepted="yes"', 'data-status="done"')
        await other.send(prompt("Hello", client_id))
        await heard(other, 'data-accepted="yes"')
    assert len(server.messages(chat_id, "user")) == 1
    assert len(server.messages(chat_id)) == 1


@pytest.mark.parametrize("name", ["", "no-such-model", "../../etc", "a" * 10_000, "\0"])
async def test_an_unknown_model_gets_a_sentence(server: Server, name: str) -> None:
    chat_id = secrets.token_hex(8)
    async with socket(server, chat_id) as connection:
        await connection.send(prompt("Hello", model=name))
        await heard(connection, 'data-accepted="no"', 'role="alert"')
    assert server.messages(chat_id, "user") == []


@pytest.mark.parametrize("chat_id", ["nonsense", "0" * 15, "0" * 17, "G" * 16, "'--"])
async def test_a_malformed_chat_id_is_refused(server: Server, chat_id: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket(server, chat_id):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", None])
async def test_a_socket_from_another_origin_is_refused(server: Server, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket(server, origin=origin):
            pass
    assert refused.value.response.status_code == 403


async def test_a_rebound_host_name_is_refused(server: Server) -> None:
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    async with httpx.AsyncClient(base_url=server.origin) as client:
        assert (await client.get("/", headers=rebound)).status_code == 403
        live = await client.get(path(), headers=rebound | upgrade | key)
        assert live.status_code == 403
        for origin in ({}, {"Origin": "http://evil.example"}):
            assert (await client.post(f"{path()[:-5]}/stop", headers=origin)).status_code == 403


async def test_tabs_that_vanish_break_nothing(server: Server) -> None:
    async def vanish() -> None:
        async with socket(server) as connection:
            await connection.send(prompt("Hello"))
            connection.transport.abort()

    await asyncio.gather(*(vanish() for _ in range(20)))
    await assert_answers(server)
