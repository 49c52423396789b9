"""Behind a proxy: only named ones are believed, and only about what they have seen themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from app.web.security.proxies import UNTRUSTED_PROXY, ForwardedInfo, Proxies, parse_forwarded
from tests.application import PASSWORD, BrowserClient, context_of, csrf_in, run_app, text_of

PROXY, STRANGER = "10.0.0.2", "203.0.113.9"
TRUSTED = (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("::1/128"))


async def seen(client: str, *headers: tuple[str, str], kind: str = "http") -> dict[str, Any]:
    """What the application behind gets to see."""
    found: dict[str, Any] = {}

    async def application(scope: dict[str, Any], receive: object, send: object) -> None:
        found.update(scope)

    scope = {
        "type": kind,
        "scheme": {"http": "http", "websocket": "ws"}[kind],
        "client": (client, 1),
        "headers": [(b"host", b"127.0.0.1:8000")]
        + [(n.lower().encode(), v.encode("latin-1")) for n, v in headers],
    }
    await Proxies(application, TRUSTED)(scope, None, None)
    return found


def host(scope: dict[str, Any]) -> bytes:
    (found,) = [value for name, value in scope["headers"] if name == b"host"]
    return bytes(found)


async def test_a_proxy_tells_address_scheme_and_host() -> None:
    scope = await seen(
        PROXY,
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "chat.example"),
    )
    assert scope["client"][0] == "203.0.113.9"
    assert scope["scheme"] == "https"
    assert host(scope) == b"chat.example"
    scope = await seen(PROXY, ("X-Forwarded-Proto", "https"), kind="websocket")
    assert scope["scheme"] == "wss"
    forwarded = 'for="[2001:db8::7]:4711";proto=https;host="chat.example"'
    scope = await seen("::1", ("Forwarded", forwarded))
    assert scope["client"][0] == "2001:db8::7"
    assert (scope["scheme"], host(scope)) == ("https", b"chat.example")


async def test_no_other_proxy_is_believed() -> None:
    for client in (STRANGER, "", "unix", "10.0.1.2"):
        scope = await seen(
            client,
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "chat.example"),
            ("Forwarded", "for=127.0.0.1;proto=https"),
            ("X-Real-IP", "127.0.0.1"),
        )
        assert scope["client"][0] == client
        assert scope["scheme"] == "http"
        assert scope["headers"] == [(b"host", b"127.0.0.1:8000")]
        assert scope[UNTRUSTED_PROXY]
    assert not (await seen(STRANGER))[UNTRUSTED_PROXY]
    assert not (await seen(PROXY, ("X-Forwarded-For", STRANGER))).get(UNTRUSTED_PROXY)


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("127.0.0.1, 203.0.113.9", "203.0.113.9"),  # the client made the first up
        ("127.0.0.1, 203.0.113.9, 10.0.0.3", "203.0.113.9"),  # two of our proxies in a row
        ("10.0.0.5, 10.0.0.3", "10.0.0.5"),
        ("nonsense, 203.0.113.9:55", "203.0.113.9"),
        ("::ffff:10.0.0.3, 2001:db8::1", "2001:db8::1"),
    ],
)
async def test_the_first_stranger_from_the_near_end_is_the_client(chain: str, client: str) -> None:
    assert (await seen(PROXY, ("X-Forwarded-For", chain)))["client"][0] == client


async def test_a_header_that_the_proxy_only_handed_on_proves_nothing() -> None:
    lies = ("Forwarded", "for=127.0.0.1;host=evil.example;proto=https")
    scope = await seen(PROXY, ("X-Forwarded-For", STRANGER), lies)
    assert scope["client"][0] == "unknown"
    assert host(scope) == b"127.0.0.1:8000"
    assert scope["scheme"] == "http"


def test_odd_headers_are_read_without_harm() -> None:
    for text in ("", ";;;,=,", 'for="', "for=;proto=", "for=_hidden, for=unknown", "\xff" * 100):
        parse_forwarded([(b"forwarded", text.encode("latin-1"))])
    assert parse_forwarded([]) == ForwardedInfo()


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    """On loopback, behind a proxy that speaks TLS."""
    async with run_app(
        tmp_path,
        trusted_proxies=(ipaddress.ip_network("127.0.0.1/32"),),
        allowed_hosts=("chat.example",),
    ) as made:
        await context_of(made).users.add("anna", PASSWORD, "owner")
        yield made


async def test_through_a_proxy_the_login_is_as_secure_as_the_outside(app: Quart) -> None:
    visitor = BrowserClient(app)
    outside = {
        "Host": "127.0.0.1:8000",
        "X-Forwarded-For": STRANGER,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "chat.example",
        "Origin": "https://chat.example",
    }
    via = {"headers": outside, "scope_base": {"client": ("127.0.0.1", 1)}}
    form = {"name": "anna", "password": PASSWORD}
    answer = await visitor.ask("GET", "/login", **via)
    html = await text_of(answer)
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    outside["Cookie"] = cookie
    answer = await visitor.ask("POST", "/login", form=form | {"csrf": csrf_in(html)}, **via)
    assert answer.status_code == 303
    assert any(
        c.startswith("__Host-wick-login-8000=") and "Secure" in c
        for c in answer.headers.getlist("Set-Cookie")
    )
    (login,) = await context_of(app).sessions.list_for_user(1)
    assert login.address == STRANGER
    outside["Origin"] = "http://chat.example"
    answer = await visitor.ask("POST", "/login", form=form, **via)
    assert answer.status_code == 403


async def test_a_host_that_a_proxy_tells_must_be_allowed_too(app: Quart) -> None:
    for told in ("evil.example", "chat.example.evil.example", "a b", "chat.example, evil.example"):
        answer = await BrowserClient(app).ask(
            "GET",
            "/login",
            headers={"X-Forwarded-Host": told},
            scope_base={"client": ("127.0.0.1", 1)},
        )
        assert answer.status_code == 403, told


async def test_a_proxy_that_is_not_named_is_told_how_to_be(app: Quart) -> None:
    """Its name is no Host of ours, and under TLS its pages have another Origin than we see."""
    for method, headers in (
        ("GET", {"Host": "other.example"}),
        ("POST", {"Origin": "https://chat.example", "Host": "chat.example"}),
    ):
        answer = await BrowserClient(app).ask(
            method,
            "/login",
            headers=headers | {"X-Forwarded-For": "192.0.2.7"},
            scope_base={"client": ("192.0.2.1", 1)},
        )
        assert answer.status_code == 403
        assert "WICK_TRUSTED_PROXIES" in await text_of(answer)


async def test_a_proxy_in_front_means_accounts(app: Quart) -> None:
    assert (await BrowserClient(app).ask("GET", "/")).status_code == 303
