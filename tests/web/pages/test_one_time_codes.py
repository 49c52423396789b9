"""One-time codes on the page: from the set-up to a login, and who may turn them off."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyotp
import pytest
from quart import Quart

from app import audit
from app.accounts.sessions import STEP_COOKIE
from app.web.render.qr_code import QrCode
from tests.accounts.conftest import Clock
from tests.application import (
    PASSWORD,
    BrowserClient,
    context_of,
    csrf_in,
    run_app,
    sign_in,
    text_of,
)

NEXT = 30.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, accounts="on") as made:
        context_of(made).codes._clock = clock
        yield made


async def post(browser: BrowserClient, path: str, **form: str) -> Any:
    return await browser.ask("POST", path, form=form)


async def begin_set_up(browser: BrowserClient) -> tuple[str, str]:
    """The secret and the ticket of a set-up."""
    answer = await post(browser, "/you/codes/set-up", password=PASSWORD)
    assert answer.status_code == 200
    page = await text_of(answer)
    shown = re.search(r'<code class="secret-key"[^>]*>([A-Z2-7 ]+)</code>', page)
    ticket = re.search(r'name="ticket" value="([^"]+)"', page)
    assert shown is not None
    assert ticket is not None
    return shown[1].replace(" ", ""), ticket[1]


async def turn_on(browser: BrowserClient, clock: Clock) -> tuple[pyotp.TOTP, list[str]]:
    """An app with the secret, whose next code has not been used; and the recovery codes."""
    secret, ticket = await begin_set_up(browser)
    app = pyotp.TOTP(secret)
    answer = await post(browser, "/you/codes/confirm", ticket=ticket, code=app.at(clock.now))
    assert answer.status_code == 200
    clock.now += NEXT
    return app, re.findall(r"<li><code>([a-z0-9-]{14})</code>", await text_of(answer))


async def enter(browser: BrowserClient, path: str = "/login/code", **form: str) -> Any:
    """Send the form of the second page as that page would."""
    token = csrf_in(await text_of(await browser.ask("GET", "/login/code")))
    return await post(browser, path, csrf=token, **form)


async def test_from_the_set_up_to_a_login(app: Quart, clock: Clock, tmp_path: Path) -> None:
    anna = await sign_in(app, "anna")
    assert "Set up one-time codes" in await text_of(await anna.ask("GET", "/you"))
    answer = await post(anna, "/you/codes/set-up", password="wrong")
    assert answer.status_code == 403
    assert "Wrong password." in await text_of(answer)
    secret, ticket = await begin_set_up(anna)
    answer = await post(anna, "/you/codes/confirm", ticket=ticket, code="000000")
    assert answer.status_code == 403
    assert secret[:4] in await text_of(answer)  # the same secret, to try again
    authenticator, recovery = await turn_on(anna, clock)
    assert len(recovery) == 10
    assert "Manage one-time codes" in await text_of(await anna.ask("GET", "/you"))

    new = BrowserClient(app)
    form = csrf_in(await text_of(await new.ask("GET", "/login")))
    given = {"csrf": form, "name": "anna", "password": PASSWORD, "next": "/archive?q=1"}
    answer = await new.ask("POST", "/login", form=given)
    assert answer.headers["Location"] == "/login/code"
    for cookie in answer.headers.getlist("Set-Cookie"):
        assert cookie.startswith(f"wick-{STEP_COOKIE}-8000=")  # no session, no known device
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
    assert (await new.ask("GET", "/archive")).headers["Location"].startswith("/login")
    page = await text_of(await new.ask("GET", "/login/code"))
    assert "anna" not in page
    answer = await enter(new, code="000000")
    assert answer.status_code == 403
    assert "Wrong code." in await text_of(answer)
    answer = await enter(new, code=authenticator.at(clock.now))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/archive?q=1")
    page = await text_of(await new.ask("GET", "/you"))
    assert "with a password and a code" in page
    assert (await new.ask("GET", "/login/code")).headers["Location"] == "/login"  # used up

    second = BrowserClient(app)
    await second.log_in("anna")
    assert (await enter(second, code=authenticator.at(clock.now))).status_code == 403  # again
    assert (await enter(second, recovery=recovery[0])).status_code == 303
    assert "with a password and a recovery code" in await text_of(await second.ask("GET", "/you"))
    events = [json.loads(line) for line in (tmp_path / audit.FILE).read_text().splitlines()]
    assert [e["event"] for e in events if "code" in e["event"]] == [
        "codes-turned-on",
        "recovery-code-used",
    ]
    assert [e["method"] for e in events if e["event"] == "login-failed" and "method" in e] == [
        "code",
        "code",
    ]
    assert secret not in (tmp_path / audit.FILE).read_text()


async def test_the_second_page_is_bound_to_the_browser(app: Quart, clock: Clock) -> None:
    authenticator, _ = await turn_on(await sign_in(app, "anna"), clock)
    first, second = BrowserClient(app), BrowserClient(app)
    await first.log_in("anna")
    assert (await second.ask("GET", "/login/code")).headers["Location"] == "/login"
    code = authenticator.at(clock.now)
    token = csrf_in(await text_of(await second.ask("GET", "/login")))
    answer = await post(second, "/login/code", csrf=token, code=code)
    assert answer.status_code == 403
    assert "Your login has expired" in await text_of(answer)
    answer = await post(first, "/login/code", csrf="forged", code=code)
    assert "This form has expired" in await text_of(answer)
    answer = await enter(first, "/login/code/cancel")
    assert answer.headers["Location"] == "/login"
    assert (await first.ask("GET", "/login/code")).headers["Location"] == "/login"


async def test_wrong_codes_have_to_wait(app: Quart, clock: Clock) -> None:
    authenticator, _ = await turn_on(await sign_in(app, "anna"), clock)
    guesser = BrowserClient(app)
    for _ in range(5):
        await guesser.log_in("anna")
        assert (await enter(guesser, code="000000")).status_code == 403
    await guesser.log_in("anna")
    answer = await enter(guesser, code=authenticator.at(clock.now))
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many attempts." in await text_of(answer)


async def test_a_reset_link_is_no_way_around(app: Quart, clock: Clock) -> None:
    anna, berta = await sign_in(app, "anna", "owner"), await sign_in(app, "berta")
    authenticator, _ = await turn_on(berta, clock)
    context = context_of(app)
    berta_id = (await ids(app))["berta"]
    token = await context.users.reset_token(berta_id, None)
    new = BrowserClient(app)
    form = csrf_in(await text_of(await new.ask("GET", f"/join/{token}")))
    given = {"csrf": form, "password": "another good phrase", "again": "another good phrase"}
    answer = await new.ask("POST", f"/join/{token}", form=given)
    assert answer.headers["Location"] == "/login/code"
    assert await context.sessions.list_for_user(berta_id) == []
    assert (await enter(new, code=authenticator.at(clock.now))).status_code == 303
    assert len(await context.sessions.list_for_user(berta_id)) == 1
    assert (await anna.ask("GET", "/you")).status_code == 200


async def ids(app: Quart) -> dict[str, int]:
    return {user.name: user.id for user in await context_of(app).users.list_users()}


async def test_turning_off_needs_the_password(app: Quart, clock: Clock) -> None:
    anna = await sign_in(app, "anna")
    await turn_on(anna, clock)
    for path in ("/you/codes/off", "/you/codes/recovery"):
        answer = await post(anna, path, password="wrong")
        assert answer.status_code == 403
        assert "Wrong password." in await text_of(answer)
    answer = await post(anna, "/you/codes/recovery", password=PASSWORD)
    assert len(re.findall(r"<li><code>", await text_of(answer))) == 10
    anna_id = (await ids(app))["anna"]
    assert (await context_of(app).users.get(anna_id)).has_codes
    answer = await post(anna, "/you/codes/off", password=PASSWORD)
    assert answer.headers["Location"] == "/you/codes?done=off"
    assert not (await context_of(app).users.get(anna_id)).has_codes
    assert (await BrowserClient(app).log_in("anna")).headers["Location"] == "/"
    answer = await post(anna, "/you/codes/recovery", password=PASSWORD)
    assert answer.status_code == 403


async def test_an_owner_sees_who_has_codes_and_turns_them_off(app: Quart, clock: Clock) -> None:
    anna, berta = await sign_in(app, "anna", "owner"), await sign_in(app, "berta")
    await turn_on(berta, clock)
    their = await ids(app)
    page = await text_of(await anna.ask("GET", "/people"))
    assert page.count("Turn off one-time codes for berta") == 1
    path = f"/people/{their['berta']}/codes-off"
    assert (await post(berta, path)).status_code == 403
    assert (await post(anna, f"/people/{their['anna']}/codes-off")).status_code == 403
    assert (await post(anna, "/people/77/codes-off")).status_code == 404
    assert (await context_of(app).users.get(their["berta"])).has_codes
    assert (await post(anna, path)).headers["Location"] == "/people?done=codes-off"
    assert (await BrowserClient(app).log_in("berta")).headers["Location"] == "/"


async def test_keys_work_without_codes_and_exports_hold_no_secret(app: Quart, clock: Clock) -> None:
    anna = await sign_in(app, "anna")
    authenticator, _ = await turn_on(anna, clock)
    key, _ = await context_of(app).api_keys.add((await ids(app))["anna"], "editor", ["read"])
    program = BrowserClient(app)
    answer = await program.ask("GET", "/api/v1/chats", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert authenticator.secret not in await text_of(await anna.ask("GET", "/exchange/chats.json"))


async def test_another_users_set_up_is_none(app: Quart, clock: Clock) -> None:
    anna, berta = await sign_in(app, "anna"), await sign_in(app, "berta")
    secret, ticket = await begin_set_up(anna)
    code = pyotp.TOTP(secret).at(clock.now)
    answer = await post(berta, "/you/codes/confirm", ticket=ticket, code=code)
    assert answer.status_code == 403
    assert secret[:4] not in await text_of(answer)
    assert not any(user.has_codes for user in await context_of(app).users.list_users())


def test_a_camera_reads_the_qr_code() -> None:
    text = (
        "otpauth://totp/Wick%20%28chat.example.org%29:Zo%C3%AB?secret=GEZDGNBVGY3TQOJQ&issuer=Wick"
    )
    code = QrCode.of(text)
    picture = np.full((code.size, code.size), 255, np.uint8)
    runs = re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", code.path)
    assert "".join(f"M{x} {y}h{w}v1h-{w}z" for x, y, w in runs) == code.path
    for x, y, width in runs:
        picture[int(y), int(x) : int(x) + int(width)] = 0
    large = cv2.resize(picture, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    assert cv2.QRCodeDetector().detectAndDecode(large)[0] == text
