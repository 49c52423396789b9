"""Downloads for users elsewhere: nothing of this machine's own network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.errors import PullError
from app.models.install import http_client
from app.models.install.http_client import client
from app.models.install.pulls import PullManager
from app.models.store import ModelStore
from tests.models.stub_server import Stub, serve_stub

NAMES = {
    "inside.example": ["10.1.2.3"],
    "both.example": ["93.184.215.14", "fd00::7"],
    "itself.example": ["127.0.0.1"],
    "outside.example": ["93.184.215.14"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names lead where the test says."""
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    usual = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: int, **more: int) -> list[object]:
        if host not in NAMES:
            return list(usual(host, port, *rest, **more))
        return [(0, 0, 0, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def server() -> Iterator[Stub]:
    with serve_stub() as stub:
        stub.files["/x.gguf"] = b"GGUF"
        yield stub


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *((public, True) for public in ("93.184.215.14", "2606:4700::1", "64:ff9b::5db8:d70e")),
        *((own, False) for own in ("127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1")),
        *((near, False) for near in ("10.0.0.1", "172.16.9.9", "192.168.1.1", "fd00::1")),
        *((near, False) for near in ("169.254.169.254", "fe80::1%eth0", "100.64.0.1")),
        *((odd, False) for odd in ("224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1")),
        *((inner, False) for inner in ("64:ff9b::7f00:1", "2002:7f00:1::", "2001::1")),
    ],
)
def test_public_and_private_addresses_are_distinguished(address: str, expected: bool) -> None:
    assert http_client.is_public(address) is expected


@pytest.mark.parametrize("host", ["inside.example", "both.example", "itself.example", "10.1.2.3"])
async def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(
    tmp_path: Path, host: str
) -> None:
    pulls = PullManager(ModelStore(tmp_path), is_public=True)
    pull = pulls.start(f"https://{host}/x.gguf")
    assert pull.task is not None
    await asyncio.wait([pull.task])
    assert f"{host} is on the server's private network" in (pull.error or "")


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example", "xn--a"])
async def test_a_redirect_to_what_is_no_name_is_a_failed_connection(
    server: Stub, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(http_client, "is_public", lambda address: address == "127.0.0.1")
    server.redirects["/y.gguf"] = f"https://{host}/x.gguf"
    async with client(is_public=True) as web:
        with pytest.raises(httpx.HTTPError):
            await web.get(f"{server.url}/y.gguf", follow_redirects=True)


async def test_a_redirect_inside_is_refused(server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "is_public", lambda address: address == "127.0.0.1")
    server.redirects["/y.gguf"] = "https://inside.example/x.gguf"
    async with client(is_public=True) as web:
        with pytest.raises(PullError, match=r"inside\.example is on the server"):
            await web.get(f"{server.url}/y.gguf", follow_redirects=True)


async def test_the_connection_is_to_the_address_that_was_looked_at(
    server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "is_public", lambda _: True)
    port = server.url.rpartition(":")[2]
    # The first of its addresses is of a kind that leads nowhere here.
    NAMES["two.example"] = ["::ffff:0.0.0.1", "127.0.0.1"]
    async with client(is_public=True) as web:
        answer = await web.get(f"http://two.example:{port}/x.gguf")
    assert answer.content == b"GGUF"
    assert str(answer.url) == f"http://two.example:{port}/x.gguf"
    assert server.sent_headers[0]["Host"] == f"two.example:{port}"


async def test_the_name_is_what_the_certificate_must_be_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[httpx.Request] = []

    async def answer(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    async with client(is_public=True) as web:
        await web.get("https://outside.example/x.gguf")
    assert sent[0].url.host == "93.184.215.14"
    assert sent[0].extensions["sni_hostname"] == "outside.example"
    assert sent[0].headers["Host"] == "outside.example"


async def test_behind_a_proxy_names_are_looked_at_as_well(
    server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    async with client(is_public=True) as web:
        with pytest.raises(PullError, match="is on the server's private"):
            await web.get("http://inside.example/x.gguf")
        assert (await web.get("http://outside.example/x.gguf")).status_code in {200, 404}
    assert len(server.asked) == 1


def test_a_length_of_thousands_of_digits_counts_as_none() -> None:
    for text, length in (("12", 12), ("9" * 5_000, 0), ("²", 0), ("-1", 0)):
        response = httpx.Response(200, headers={b"Content-Length": text.encode()})
        assert http_client.content_length(response) == length
