"""Logging in by a proxy: only the named one is believed, about the user it names now."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from quart.testing.connections import WebsocketResponseError

from app import audit
from app.cli import serve
from app.config import Settings, load_settings
from app.errors import ConfigError
from app.web.security.proxy_login import PROXY_LOGIN, LoginHeader, ProxyLogin
from tests.application import PASSWORD, BrowserClient, context_of, csrf_in, run_app, text_of

PROXY, STRANGER = "10.0.0.2", "203.0.113.9"
NETWORK = (ipaddress.ip_network("10.0.0.0/24"),)
HTML = {"Accept": "text/html"}


class ProxiedBrowser(BrowserClient):
    """A browser behind the proxy, or one that says it is."""

    def __init__(self, app: Quart, name: str = "", groups: str = "", peer: str = PROXY) -> None:
        super().__init__(app)
        self.headers |= HTML
        self.peer = peer
        self.named(name, groups)

    def named(self, name: str, groups: str = "") -> None:
        for header, value in (("X-Forwarded-User", name), ("X-Forwarded-Groups", groups)):
            self.headers.pop(header, None)
            if value:
                self.headers[header] = value

    async def ask(self, method: str, path: str, **given: Any) -> Any:
        return await super().ask(method, path, scope_base={"client": (self.peer, 1)}, **given)

    async def enter(self) -> str:
        """Open a page, and send from then on what it would send."""
        html = await text_of(await self.ask("GET", "/you"))
        self.headers["X-CSRF-Token"] = csrf_in(html)
        return html


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    """On loopback, with the owner anna."""
    async with run_app(
        tmp_path,
        auth_header="X-Forwarded-User",
        auth_proxy=NETWORK,
        auth_create=True,
        auth_groups_header="X-Forwarded-Groups",
        auth_owner_group="wick-owners",
        auth_logout="/oauth2/sign_out",
        base_path="/wick",
    ) as made:
        await context_of(made).users.add("anna", PASSWORD, "owner")
        yield made


async def names(app: Quart) -> list[str]:
    return [user.name for user in await context_of(app).users.list_users()]


async def test_the_proxy_logs_in_and_makes_a_member(app: Quart, tmp_path: Path) -> None:
    berta = ProxiedBrowser(app, "berta@example.org")
    html = await berta.enter()
    assert "berta@example.org" in html
    assert "logged in through the proxy" in html
    assert "You have no password here" in html
    assert (await berta.ask("GET", "/people")).status_code == 403
    assert (await berta.ask("GET", "/you")).status_code == 200
    user = await context_of(app).users.get_by_name("berta@example.org")
    assert (user.role, user.has_password) == ("member", False)
    assert len(await context_of(app).sessions.list_for_user(user.id)) == 1
    answer = await berta.ask("POST", "/you/remove", form={"sure": "somebody"})
    assert "This is not your name." in await text_of(answer)
    answer = await berta.ask("POST", "/you/remove", form={"sure": "Berta@example.org"})
    assert answer.status_code == 303
    assert await names(app) == ["anna"]
    events = [json.loads(line) for line in (tmp_path / audit.FILE).read_text().splitlines()]
    assert [(e["event"], e["method"]) for e in events if "method" in e] == [
        ("person-added", "proxy"),
        ("login", "proxy"),
    ]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", STRANGER, "10.0.1.2", ""])
async def test_from_any_other_address_the_header_is_ignored(app: Quart, peer: str) -> None:
    """Whatever is said of where it comes from; pages, API and sockets alike."""
    visitor = ProxiedBrowser(app, "mallory", "wick-owners", peer=peer)
    visitor.headers["X-Forwarded-For"] = PROXY
    for path in ("/", "/you", "/people"):
        answer = await visitor.ask("GET", path)
        assert answer.headers["Location"].startswith("/wick/login")
    html = await text_of(await visitor.ask("GET", "/login"))
    assert "mallory" not in html
    assert (await visitor.ask("GET", "/api/v1/chats")).status_code == 401
    with pytest.raises(WebsocketResponseError):
        async with visitor.client.websocket(
            "/live", headers=visitor.headers, scope_base={"client": (peer, 1)}
        ) as socket:
            await socket.receive()
    assert await names(app) == ["anna"]


async def test_sockets_and_programs_need_more_than_the_header(app: Quart) -> None:
    via: dict[str, Any] = {"scope_base": {"client": (PROXY, 1)}}
    berta = ProxiedBrowser(app, "berta")
    with pytest.raises(WebsocketResponseError):
        async with berta.client.websocket("/live", headers=berta.headers, **via) as socket:
            await socket.receive()
    for path in ("/api/v1/chats", "/v1/models"):
        assert (await berta.ask("GET", path)).status_code == 401
    assert (await berta.ask("POST", "/logout")).status_code in {303, 401}
    assert await names(app) == ["anna"]  # nothing but a page makes an account
    await berta.enter()
    async with berta.client.websocket("/live", headers=berta.headers, **via) as socket:
        await socket.receive()
    carl = berta.headers | {"X-Forwarded-User": "carl"}
    await ProxiedBrowser(app, "carl").enter()
    with pytest.raises(WebsocketResponseError):
        async with berta.client.websocket("/live", headers=carl, **via) as socket:
            await socket.receive()


async def test_a_session_holds_while_the_proxy_names_its_user(app: Quart) -> None:
    berta = ProxiedBrowser(app, "berta")
    await berta.enter()
    berta.peer = STRANGER
    assert (await berta.ask("GET", "/you")).status_code == 303
    berta.peer = PROXY
    berta.named("")
    assert (await berta.ask("GET", "/you")).status_code == 303
    assert (await berta.ask("POST", "/you/name", form={"name": "b"})).status_code == 401
    berta.named("berta")
    assert (await berta.ask("GET", "/you")).status_code == 200
    berta.named("carl")  # who sits down at the same browser
    html = await berta.enter()
    assert "carl" in html
    assert "berta" not in html
    her_id = (await context_of(app).users.get_by_name("berta")).id
    assert await context_of(app).sessions.list_for_user(her_id) == []


async def test_who_logs_out_stays_out_until_they_want_in(app: Quart) -> None:
    berta = ProxiedBrowser(app, "berta")
    await berta.enter()
    answer = await berta.ask("POST", "/logout")
    assert answer.headers["Location"] == "/wick/login?out=yes"
    html = await text_of(await berta.ask("GET", "/login?out=yes"))
    assert "You are logged out." in html
    assert 'href="/wick/">Log in as berta</a>' in html
    assert 'href="http://localhost:8000/oauth2/sign_out"' in html
    assert (await berta.ask("GET", "/login")).status_code == 303


async def test_a_taken_name_opens_no_account_until_its_user_links_it(app: Quart) -> None:
    anna = ProxiedBrowser(app, "anna")
    assert (await anna.ask("GET", "/")).headers["Location"] == "/wick/login"
    assert "is taken here" in await text_of(await anna.ask("GET", "/login"))
    assert (await anna.log_in("anna")).status_code == 303
    assert "Link anna" in await text_of(await anna.ask("GET", "/you"))
    assert (await anna.ask("POST", "/you/identities/link")).status_code == 303
    assert (await ProxiedBrowser(app, "anna").ask("GET", "/people")).status_code == 200
    berta = ProxiedBrowser(app, "berta")
    await berta.enter()
    berta.named("anna")
    del berta.headers["X-CSRF-Token"]
    assert "anna" in await berta.enter()
    form = {"issuer": "proxy", "subject": "berta"}
    assert (await berta.ask("POST", "/you/identities/unlink", form=form)).status_code == 303
    assert await context_of(app).identities.user_of("proxy", "berta")  # it was not hers
    form = {"issuer": "proxy", "subject": "anna"}
    await berta.ask("POST", "/you/identities/unlink", form=form)
    assert (await berta.ask("GET", "/you")).status_code == 303


async def test_an_identity_belongs_to_one_user(app: Quart) -> None:
    await ProxiedBrowser(app, "berta").enter()
    anna = ProxiedBrowser(app)
    await anna.log_in("anna")
    anna.named("berta")
    answer = await anna.ask("POST", "/you/identities/link")
    assert answer.status_code == 401  # the proxy says that it is berta by now
    assert "berta" in await anna.enter()
    form = {"issuer": "proxy", "subject": "berta"}
    answer = await anna.ask("POST", "/you/identities/unlink", form=form)
    assert answer.status_code == 403
    assert "This is how you log in." in await text_of(answer)


async def test_groups_decide_the_role_but_leave_an_owner(app: Quart) -> None:
    berta = ProxiedBrowser(app, "berta", "staff, wick-owners")
    await berta.enter()
    assert (await berta.ask("GET", "/people")).status_code == 200
    berta.named("berta", "wick-owners-not|staff")
    assert (await berta.ask("GET", "/people")).status_code == 403
    anna = ProxiedBrowser(app, "anna", "staff")
    await anna.log_in("anna")
    await anna.ask("POST", "/you/identities/link")
    assert (await anna.ask("GET", "/people")).status_code == 200
    assert (await context_of(app).users.get(1)).role == "owner"


async def test_a_disabled_user_is_refused(app: Quart) -> None:
    berta = ProxiedBrowser(app, "berta")
    await berta.enter()
    await context_of(app).users.disable((await context_of(app).users.get_by_name("berta")).id)
    assert (await berta.ask("GET", "/you")).headers["Location"].startswith("/wick/login")
    html = await text_of(await berta.ask("GET", "/login"))
    assert "This account is disabled." in html


async def test_unknown_users_and_odd_names_make_no_account(tmp_path: Path) -> None:
    for owner, create, name, sentence in (
        (False, True, "berta", "no owner yet"),
        (True, False, "berta", "No account here is linked to “berta”"),
        (True, True, "<b>", "can&#39;t be a name here"),
    ):
        folder = tmp_path / f"{owner}{create}"
        async with run_app(
            folder, auth_header="X-Forwarded-User", auth_proxy=NETWORK, auth_create=create
        ) as app:
            if owner:
                await context_of(app).users.add("anna", PASSWORD, "owner")
            visitor = ProxiedBrowser(app, name)
            assert (await visitor.ask("GET", "/")).status_code == 303
            assert sentence in await text_of(await visitor.ask("GET", "/login"))
            assert len(await names(app)) == 1


async def seen(*headers: tuple[str, bytes], peer: str = PROXY) -> Any:
    found: dict[str, Any] = {}

    async def application(scope: dict[str, Any], receive: object, send: object) -> None:
        found.update(scope)

    settings = Settings(auth_header="X-User", auth_proxy=NETWORK, auth_groups_header="X-Groups")
    sent = [(name.lower().encode(), value) for name, value in headers]
    scope = {"type": "http", "path": "/", "client": (peer, 1), "headers": sent}
    await LoginHeader(application, settings)(scope, None, None)
    assert [name for name, _ in found["headers"] if name in {b"x-user", b"x-groups"}] == []
    return found.get(PROXY_LOGIN)


async def test_what_names_nobody_for_certain_names_nobody() -> None:
    assert await seen(("X-User", b"anna")) == ProxyLogin("anna")
    assert await seen(("X-USER", "Änna".encode()), ("X-Groups", b"a,b |c,")) == ProxyLogin(
        "Änna", frozenset({"a", "b", "c"})
    )
    two = ("X-Groups", b"a"), ("X-Groups", b"b")
    assert await seen(("X-User", b"anna"), *two) == ProxyLogin("anna")
    for value in (b"", b"  ", b"anna, bo", b"\xff", b"a\tb", b"x" * 256):
        assert await seen(("X-User", value)) is None
    assert await seen(("X-User", b"anna"), ("X-User", b"anna")) is None
    assert await seen(("X-User", b"anna"), peer=STRANGER) is None
    assert await seen(("X-Groups", b"wick-owners")) is None


@pytest.mark.parametrize(
    "given",
    [
        {"WICK_AUTH_HEADER": "X-User"},
        {"WICK_AUTH_HEADER": "X-User", "WICK_AUTH_PROXY": "10.0.0.2", "WICK_ACCOUNTS": "off"},
        {"WICK_AUTH_HEADER": "Cookie", "WICK_AUTH_PROXY": "10.0.0.2"},
        {"WICK_AUTH_HEADER": "X User", "WICK_AUTH_PROXY": "10.0.0.2"},
        {"WICK_AUTH_HEADER": "X-User", "WICK_AUTH_PROXY": "0.0.0.0/0"},
        {
            "WICK_AUTH_HEADER": "X-User",
            "WICK_AUTH_PROXY": "10.0.0.2",
            "WICK_AUTH_GROUPS_HEADER": "x-user",
        },
        {"WICK_AUTH_LOGOUT": "javascript:alert(1)"},
        {"WICK_AUTH_LOGOUT": "//evil.example"},
    ],
)
def test_unsafe_settings_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="WICK_AUTH_"):
        serve.check(load_settings(given, None))


def test_a_login_header_means_accounts() -> None:
    given = {"WICK_AUTH_HEADER": "X-User", "WICK_AUTH_PROXY": "127.0.0.1"}
    settings = load_settings(given, None)
    serve.check(settings)
    assert settings.has_accounts
