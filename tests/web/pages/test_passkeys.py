"""Passkeys on the page: added with the password, used without it, and where they do not work."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from quart import Quart

from app import audit
from app.accounts.sessions import PASSKEY_COOKIE
from tests.application import (
    PASSWORD,
    BrowserClient,
    context_of,
    csrf_in,
    run_app,
    sign_in,
    text_of,
)
from tests.authenticator import Authenticator

ORIGIN = "http://localhost:8000"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(
        tmp_path, accounts="on", base_path="/wick", allowed_hosts=("chat.example.org",)
    ) as made:
        yield made


async def post(browser: BrowserClient, path: str, **form: str) -> Any:
    return await browser.ask("POST", path, form=form)


async def add(browser: BrowserClient, name: str = "Phone") -> Authenticator:
    answer = await post(browser, "/you/passkeys/options", password=PASSWORD)
    assert answer.status_code == 200
    device = Authenticator(ORIGIN)
    response = device.create(await text_of(answer))
    answer = await post(browser, "/you/passkeys", name=name, response=response)
    assert answer.headers["Location"] == "/wick/you/passkeys?done=added"
    return device


async def enter(browser: BrowserClient, device: Authenticator, **form: str) -> Any:
    token = csrf_in(await text_of(await browser.ask("GET", "/login")))
    answer = await post(browser, "/login/passkey/options")
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith(f"wick-{PASSKEY_COOKIE}-8000=")
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/wick/"))
    response = device.get(await text_of(answer))
    return await post(browser, "/login/passkey", csrf=token, response=response, **form)


async def test_a_passkey_is_added_used_and_removed(app: Quart, tmp_path: Path) -> None:
    anna = await sign_in(app, "anna")
    assert "passkey" not in await text_of(await BrowserClient(app).ask("GET", "/login"))
    answer = await post(anna, "/you/passkeys/options", password="wrong")
    assert (answer.status_code, await text_of(answer)) == (403, "Wrong password.")
    assert answer.mimetype == "text/plain"
    phone = await add(anna)
    assert "never used" in await text_of(await anna.ask("GET", "/you/passkeys"))
    assert "1 passkey logs you in" in await text_of(await anna.ask("GET", "/you"))

    new = BrowserClient(app)
    page = await text_of(await new.ask("GET", "/login"))
    assert "Log in with a passkey" in page
    assert 'data-address="/wick/login/passkey/options"' in page
    assert "anna" not in page
    answer = await enter(new, phone, next="/archive")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/wick/archive")
    page = await text_of(await new.ask("GET", "/you"))
    assert "logged in with a passkey" in page
    new.headers["X-CSRF-Token"] = csrf_in(page)
    page = await text_of(await new.ask("GET", "/you/passkeys"))
    assert "last used just now" in page
    (number,) = re.findall(r"/you/passkeys/(\d+)/remove", page)
    berta = await sign_in(app, "berta")
    await post(berta, f"/you/passkeys/{number}/remove")
    assert "Phone" in await text_of(await new.ask("GET", "/you/passkeys"))
    await post(new, f"/you/passkeys/{number}/remove")
    page = await text_of(await new.ask("GET", "/you/passkeys?done=removed"))
    assert "Passkey removed." in page
    assert "Phone" not in page
    answer = await enter(BrowserClient(app), phone)
    assert answer.status_code == 403
    assert "This passkey was not accepted" in await text_of(answer)
    events = [json.loads(line) for line in (tmp_path / audit.FILE).read_text().splitlines()]
    assert [e["event"] for e in events if "passkey" in e["event"]] == [
        "passkey-added",
        "passkey-removed",
    ]
    assert [e["event"] for e in events if e.get("method") == "passkey"] == ["login", "login-failed"]


async def test_a_passkey_is_both_factors(app: Quart) -> None:
    anna = await sign_in(app, "anna")
    phone = await add(anna)
    user = (await context_of(app).users.list_users())[0]
    ticket = await context_of(app).codes.begin_setup(user.id, "")
    setup = context_of(app).codes.setup_of(user.id, ticket)
    assert setup is not None
    await context_of(app).codes.turn_on(user.id, ticket, pyotp.TOTP(setup.secret).now())
    assert (await enter(BrowserClient(app), phone)).headers["Location"] == "/wick/"


async def test_an_answer_is_bound_to_its_browser(app: Quart) -> None:
    anna = await sign_in(app, "anna")
    phone = await add(anna)
    first, second = BrowserClient(app), BrowserClient(app)
    options = await text_of(await post(first, "/login/passkey/options"))
    await post(second, "/login/passkey/options")
    token = csrf_in(await text_of(await second.ask("GET", "/login")))
    stolen = phone.get(options)
    answer = await post(second, "/login/passkey", csrf=token, response=stolen)
    assert answer.status_code == 403
    answer = await post(first, "/login/passkey", csrf="forged", response=phone.get(options))
    assert "This form has expired" in await text_of(answer)
    for path in ("/login/passkey", "/login/passkey/options"):
        answer = await first.ask(
            "POST", path, form={"response": stolen}, headers={"Origin": "http://evil.example"}
        )
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers


async def test_where_passkeys_do_not_work_the_page_says_why(
    app: Quart, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await sign_in(app, "anna")
    await add(anna)
    for host, words in (
        ("chat.example.org", "Passkeys need a secure page"),
        ("192.0.2.7:8000", "not by its IP address"),
    ):
        elsewhere = {"Host": host, "Origin": f"http://{host}"}
        visitor = BrowserClient(app)
        page = await text_of(await visitor.ask("GET", "/login", headers=elsewhere))
        assert "passkey" not in page
        answer = await visitor.ask("POST", "/login/passkey/options", headers=elsewhere)
        assert answer.status_code == 403
        assert words in await text_of(answer)
        page = await text_of(await anna.ask("GET", "/you/passkeys", headers=elsewhere))
        assert words in page
        assert "passkey-add" not in page
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install" in await text_of(await anna.ask("GET", "/you/passkeys"))
    assert "passkey" not in await text_of(await BrowserClient(app).ask("GET", "/login"))
