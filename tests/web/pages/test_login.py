"""Getting in and out: the pages of login and invitation, their cookies, and what they refuse."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from app.web.security.auth import local_path
from tests.application import (
    OWN,
    PAGE,
    PASSWORD,
    BrowserClient,
    context_of,
    csrf_in,
    run_app,
    sign_in,
    text_of,
)

CHAT = "0123456789abcdef"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


def login_cookie(answer: Any) -> str:
    cookies = [c for c in answer.headers.getlist("Set-Cookie") if "-login-" in c]
    return cookies[0] if cookies else ""


async def join(visitor: BrowserClient, token: str, **fields: str) -> Any:
    page = await text_of(await visitor.ask("GET", f"/join/{token}"))
    form = {"csrf": csrf_in(page), "password": PASSWORD, "again": PASSWORD} | fields
    return await visitor.ask("POST", f"/join/{token}", form=form)


async def test_the_first_link_makes_the_owner_once(app: Quart) -> None:
    token = await context_of(app).users.setup_token()
    assert token
    visitor = BrowserClient(app)
    assert "no owner yet" in await text_of(await visitor.ask("GET", "/login"))
    assert "Create the owner account" in await text_of(await visitor.ask("GET", f"/join/{token}"))
    answer = await join(visitor, token, name="Anna")
    assert answer.status_code == 303
    assert "Anna" in await text_of(await visitor.ask("GET", "/"))
    assert (await visitor.ask("GET", "/status")).status_code == 200
    answer = await BrowserClient(app).ask("GET", f"/join/{token}")
    assert answer.status_code == 404
    assert "Ask for a new one" in await text_of(answer)
    assert await context_of(app).users.setup_token() is None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "Bo", "password": "short", "again": "short"}, "at least 8 characters"),
        ({"name": "Bo", "again": "another one"}, "do not match"),
        ({"name": ""}, "Choose a name"),
        ({"name": "ANNA"}, "This name is taken"),
        ({"name": "a<b>"}, "letters, digits"),
        ({"name": "Password1", "password": "password1", "again": "password1"}, "too easy"),
    ],
)
async def test_an_invalid_form_of_an_invite_is_refused_and_its_link_still_works(
    app: Quart, fields: dict[str, str], sentence: str
) -> None:
    await sign_in(app, "anna")
    token = await context_of(app).users.invite("member", 1)
    visitor = BrowserClient(app)
    answer = await join(visitor, token, **fields)
    assert answer.status_code == 422
    assert sentence in await text_of(answer)
    answer = await join(visitor, token, name="Berta")
    assert answer.status_code == 303


async def test_a_link_for_a_new_password_ends_every_login(app: Quart) -> None:
    await sign_in(app, "anna")
    berta = await sign_in(app, "berta")
    her_id = (await context_of(app).users.get_by_name("berta")).id
    token = await context_of(app).users.reset_token(her_id, 1)
    visitor = BrowserClient(app)
    assert 'value="berta" readonly' in await text_of(await visitor.ask("GET", f"/join/{token}"))
    new = "another fine password"
    answer = await join(visitor, token, name="mallory", password=new, again=new)
    assert answer.status_code == 303
    assert (await berta.ask("GET", "/")).status_code == 303
    assert (await berta.log_in("berta")).status_code == 403
    assert (await berta.log_in("berta", new)).status_code == 303


async def test_after_the_login_comes_the_page_that_was_wanted(app: Quart) -> None:
    await sign_in(app, "anna")
    visitor = BrowserClient(app)
    answer = await visitor.ask("GET", "/search?q=a%20b&in=trash")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/login?next=/search%3Fq%3Da%2520b%26in%3Dtrash"
    html = await text_of(await visitor.ask("GET", answer.headers["Location"]))
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', html))
    form = {k: v.replace("&amp;", "&") for k, v in form.items()}
    answer = await visitor.ask(
        "POST", "/login", form=form | {"name": " Anna ", "password": PASSWORD}
    )
    assert answer.headers["Location"] == "/search?q=a%20b&in=trash"


@pytest.mark.parametrize(
    "text",
    [
        "//evil.example", "/\\evil.example", "https://evil.example", "evil", "", "/\t/evil.example",
        "/x\r\nSet-Cookie: a=b", "javascript:alert(1)", "/login?next=/", "/ü", "\\/evil", "/ /evil",
    ],
)  # fmt: skip
def test_only_addresses_on_this_server_are_led_to(text: str) -> None:
    assert local_path(text) == "/"


async def test_scripts_and_programs_are_turned_away_in_their_own_way(app: Quart) -> None:
    visitor = BrowserClient(app)
    current = PAGE | {"HX-Current-URL": f"http://localhost:8000/chats/{CHAT}?message=3"}
    answer = await visitor.ask("POST", f"/chats/{CHAT}/stop", headers=current)
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == f"/login?next=/chats/{CHAT}%3Fmessage%3D3"
    answer = await visitor.ask("GET", "/v1/models")
    assert answer.status_code == 401
    assert answer.content_type == "application/json"
    answer = await visitor.ask("GET", "/", headers={"Accept": "text/plain"})
    assert answer.status_code == 401
    assert (await visitor.ask("DELETE", "/trash")).status_code == 401


async def test_a_wrong_name_and_a_wrong_password_look_the_same(app: Quart) -> None:
    await sign_in(app, "anna")
    seen = set()
    for name in ("anna", "nobody", "anna\0", "x" * 5000):
        visitor = BrowserClient(app)
        answer = await visitor.log_in(name, "wrong")
        html = re.sub(r'value="[^"]*"', "", await text_of(answer))
        seen.add((answer.status_code, html))
        assert not login_cookie(answer)
    assert len(seen) == 1
    assert "Wrong name or password" in html


async def test_too_many_attempts_have_to_wait_whoever_they_name(app: Quart) -> None:
    await sign_in(app, "anna")
    for name in ("anna", "nobody"):
        visitor = BrowserClient(app)
        for _ in range(5):
            assert (await visitor.log_in(name, "wrong")).status_code == 403
        answer = await visitor.log_in(name)  # the right one, too
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) <= 30
        assert "Try again in 30 seconds." in await text_of(answer)


async def test_a_known_device_logs_in_while_strangers_guess(app: Quart) -> None:
    anna, stranger = await sign_in(app, "anna"), BrowserClient(app)
    assert anna.client.cookie_jar is not None
    assert "wick-device-8000" in {cookie.name for cookie in anna.client.cookie_jar}
    await anna.ask("POST", "/logout")
    for _ in range(6):
        answer = await stranger.log_in("anna", "wrong")
    assert answer.status_code == 429
    assert (await BrowserClient(app).log_in("anna")).status_code == 429
    assert (await anna.log_in("anna")).status_code == 303
    new = {"old": PASSWORD, "password": "a new password", "again": "a new password"}
    assert (await anna.ask("POST", "/you/password", form=new)).status_code == 303
    await anna.ask("POST", "/logout")
    assert (await anna.log_in("anna", "a new password")).status_code == 303


async def test_a_login_form_needs_what_its_cookie_says(app: Quart) -> None:
    await sign_in(app, "anna")
    fields = {"name": "anna", "password": PASSWORD}
    for token in ("", "guessed"):
        visitor = BrowserClient(app)
        answer = await visitor.ask("POST", "/login", form=fields | {"csrf": token})
        assert answer.status_code == 403
        html = await text_of(answer)
        assert 'value="anna"' in html  # nothing is lost
        assert "Try again" in html
        answer = await visitor.ask("POST", "/login", form=fields | {"csrf": csrf_in(html)})
        assert answer.status_code == 303
    for origin in ("http://evil.example", "null"):
        answer = await BrowserClient(app).ask(
            "POST", "/login", form=fields, headers={"Origin": origin}
        )
        assert answer.status_code == 403


async def test_a_planted_cookie_never_becomes_a_login(app: Quart) -> None:
    """Session fixation: who logs in gets a token that nobody has seen before."""
    await sign_in(app, "anna")
    visitor = BrowserClient(app)
    visitor.client.set_cookie("localhost", "wick-login-8000", "planted")
    cookie = login_cookie(await visitor.log_in("anna"))
    assert "planted" not in cookie
    for part in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie
    assert "Secure" not in cookie
    thief = BrowserClient(app)
    thief.client.set_cookie("localhost", "wick-login-8000", "planted")
    assert (await thief.ask("GET", "/")).status_code == 303


async def test_logging_in_again_ends_the_login_before(app: Quart) -> None:
    anna = await sign_in(app, "anna")
    assert len(await context_of(app).sessions.list_for_user(1)) == 1
    form = {"csrf": anna.headers["X-CSRF-Token"], "name": "anna", "password": PASSWORD}
    assert (await anna.ask("POST", "/login", form=form)).status_code == 303
    assert len(await context_of(app).sessions.list_for_user(1)) == 1


async def test_under_tls_cookies_are_secure_and_this_host_s_own(app: Quart) -> None:
    await sign_in(app, "anna")
    visitor = BrowserClient(app)
    secure = {"scheme": "https", "headers": {"Origin": "https://localhost:8000"}}
    html = await text_of(await visitor.ask("GET", "/login", **secure))
    form = {"csrf": csrf_in(html), "name": "anna", "password": PASSWORD}
    cookie = login_cookie(await visitor.ask("POST", "/login", form=form, **secure))
    assert cookie.startswith("__Host-wick-login-8000=")
    for part in ("Secure", "HttpOnly", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie


async def test_logging_out_here_and_everywhere(app: Quart) -> None:
    anna, other = await sign_in(app, "anna"), BrowserClient(app)
    await other.log_in("anna")
    answer = await anna.ask("POST", "/logout")
    assert answer.headers["Location"] == "/login?out=yes"
    assert "You are logged out." in await text_of(await anna.ask("GET", "/login?out=yes"))
    assert (await anna.ask("GET", "/")).status_code == 303
    assert (await other.ask("GET", "/")).status_code == 200
    await anna.log_in("anna")
    assert (await anna.ask("POST", "/logout/everywhere")).status_code == 303
    for visitor in (anna, other):
        assert (await visitor.ask("GET", "/")).status_code == 303


async def test_a_day_later_the_browser_gets_a_new_token(app: Quart, tmp_path: Path) -> None:
    anna = await sign_in(app, "anna")
    with closing(sqlite3.connect(tmp_path / "wick.db")) as db, db:
        db.execute("UPDATE logins SET rotated_at = rotated_at - 90000")
    for path in ("/static/all.css", "/healthz?v=1"):
        assert not (await anna.ask("HEAD", path)).headers.getlist("Set-Cookie")
    answer = await anna.ask("GET", "/")
    assert answer.status_code == 200
    assert login_cookie(answer)
    answer = await anna.ask("DELETE", "/trash")  # with the token of the page from before
    assert answer.status_code == 200
    assert not login_cookie(await anna.ask("GET", "/"))


async def test_a_changing_request_needs_the_token_of_the_login(app: Quart) -> None:
    anna = await sign_in(app, "anna")
    berta = await sign_in(app, "berta")
    for token in ("", "guessed", berta.headers["X-CSRF-Token"]):
        for path in ("/trash", f"/chats/{CHAT}"):
            answer = await anna.ask("DELETE", path, headers={"X-CSRF-Token": token})
            assert answer.status_code == 403
            assert "Reload it" in await text_of(answer)
        answer = await anna.ask(
            "POST", "/logout", headers={"X-CSRF-Token": ""}, form={"csrf": token}
        )
        assert answer.status_code == 403
    assert (await anna.ask("DELETE", "/trash")).status_code == 200
    form = {"csrf": anna.headers.pop("X-CSRF-Token")}
    assert (await anna.ask("POST", "/logout", form=form)).status_code == 303


async def test_at_this_machine_nobody_logs_in(tmp_path: Path) -> None:
    async with run_app(tmp_path, models_dir=tmp_path) as made:
        visitor = BrowserClient(made)
        for path in ("/login", "/login?next=/trash", "/join/anything"):
            answer = await visitor.ask("GET", path)
            assert answer.status_code == 303
            assert answer.headers["Location"] in {"/", "/trash"}
        assert (await visitor.ask("GET", "/login/alive")).status_code == 204
        assert (await visitor.ask("DELETE", "/trash")).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_without_accounts_nobody_comes_through_a_proxy(tmp_path: Path, header: str) -> None:
    async with run_app(tmp_path, models_dir=tmp_path) as made:
        answer = await BrowserClient(made).ask("GET", "/", headers={header: "for=192.0.2.1"})
        assert answer.status_code == 403
        assert "WICK_TRUSTED_PROXIES" in await text_of(answer)
        socket = made.test_client().websocket(
            "/models/live", headers=OWN | {header: "for=192.0.2.1"}
        )
        with pytest.raises(Exception, match="403"):
            async with socket as connection:
                await connection.receive()
