"""Ids of requests, and the line of the log that each has."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from app.logs.lines import FACTS
from app.logs.request_ids import current_request
from app.logs.writer import REQUESTS
from app.web.request_log import RequestIds
from tests.application import OWN, run_app

GIVEN = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path) as made:
        yield made


async def answer_to(*headers: tuple[bytes, bytes], peer: str = "10.0.0.1") -> tuple[str, str]:
    """The id that is seen inside, and the one that is sent back."""
    inside, sent = list[str](), list[dict[str, Any]]()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        inside.append(current_request().id)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": list(headers), "client": (peer, 1)}
    proxy = ipaddress.ip_network("10.0.0.1/32")
    await RequestIds(application, (proxy,))(scope, None, send)
    assert current_request().id == ""
    return inside[0], dict(sent[0]["headers"])[b"x-request-id"].decode()


async def test_every_request_has_an_id_of_its_own() -> None:
    found = {await answer_to() for _ in range(3)}
    assert len(found) == 3
    for inside, sent in found:
        assert inside == sent
        assert len(sent) >= 12


async def test_a_trusted_proxy_may_choose_it() -> None:
    header = (b"X-Request-Id", GIVEN.encode())
    assert await answer_to(header) == (GIVEN, GIVEN)
    assert (await answer_to(header, peer="10.0.0.2"))[0] != GIVEN
    assert (await answer_to(header, header))[0] != GIVEN


@pytest.mark.parametrize(
    "value", [b"", b"short", b"x" * 200, b"two words 12", b"line\nbreak12", "ümläutü12".encode()]
)
async def test_an_id_that_is_not_well_formed_is_replaced(value: bytes) -> None:
    _, sent = await answer_to((b"x-request-id", value))
    assert sent.encode() != value
    assert sent.isascii()


async def test_a_response_is_logged_by_its_route_and_no_address(
    app: Quart, caplog: pytest.LogCaptureFixture
) -> None:
    client = app.test_client()
    with caplog.at_level(logging.INFO, REQUESTS):
        answer = await client.get("/search?q=marmalade", headers=OWN)
        lost = await client.get("/marmalade", headers=OWN)
        await client.get("/healthz", headers=OWN)
    assert (answer.status_code, lost.status_code) == (200, 404)
    assert answer.headers["X-Request-Id"] != lost.headers["X-Request-Id"]
    facts = [getattr(record, FACTS) for record in caplog.records if record.name == REQUESTS]
    assert [(fact["what"], fact["status"]) for fact in facts] == [
        ("GET /search", 200),
        ("GET other", 404),
    ]
    assert facts[0]["user"] == 1
    assert "marmalade" not in caplog.text
