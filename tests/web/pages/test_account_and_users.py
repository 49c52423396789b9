"""What people see and do on their own page, and owners on the page about people."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quart import Quart

from app.web.render.dates import day_of, time_ago
from tests.application import (
    PASSWORD,
    BrowserClient,
    context_of,
    csrf_in,
    run_app,
    sign_in,
    text_of,
)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


async def test_a_user_sees_and_ends_sessions(app: Quart) -> None:
    anna, phone = await sign_in(app, "anna"), BrowserClient(app)
    phone.headers["User-Agent"] = "Mozilla/5.0 (iPhone; <b>) AppleWebKit Version/19 Safari/605"
    await phone.log_in("anna")
    html = await text_of(await anna.ask("GET", "/you"))
    assert "Safari on iPhone" in html
    assert html.count("this browser") == 1
    (other,) = re.findall(r'action="(/you/logins/\d+/end)"', html)
    assert (await anna.ask("POST", other)).headers["Location"] == "/you?done=login"
    assert (await phone.ask("GET", "/you")).status_code == 303
    assert "Safari" not in await text_of(await anna.ask("GET", "/you"))


async def test_a_link_for_a_new_password_is_shown_to_whom_it_would_change(app: Quart) -> None:
    anna, berta = await sign_in(app, "anna"), await sign_in(app, "berta")
    her_id = (await context_of(app).users.get_by_name("berta")).id
    assert "created a password reset link" not in await text_of(await berta.ask("GET", "/you"))
    page = await text_of(await anna.ask("POST", f"/people/{her_id}/new-password"))
    (link,) = re.findall(r"/join/[\w-]+", page)
    assert "An owner created a password reset link" in await text_of(await berta.ask("GET", "/you"))
    assert "created a password reset link" not in await text_of(await anna.ask("GET", "/you"))
    answer = await berta.ask("POST", "/you/password-links/withdraw")
    html = await text_of(await berta.ask("GET", answer.headers["Location"]))
    assert "Link withdrawn." in html
    assert "created a password reset link" not in html
    assert (await BrowserClient(app).ask("GET", link)).status_code == 404


async def test_what_answers_a_form_has_no_socket(app: Quart) -> None:
    """A socket that is closed may have its page loaded anew, which would send the form again."""
    anna = await sign_in(app, "anna")
    assert "hx-ws:connect" in await text_of(await anna.ask("GET", "/keys"))
    made = await text_of(await anna.ask("POST", "/keys", form={"name": "mine", "scope": "chat"}))
    assert "Your new key" in made
    assert "hx-ws:connect" not in made


async def test_name_and_password_are_changed_and_nothing_typed_is_lost(app: Quart) -> None:
    anna = await sign_in(app, "anna")
    await sign_in(app, "berta")
    answer = await anna.ask("POST", "/you/name", form={"name": "BERTA"})
    assert answer.status_code == 422
    html = await text_of(answer)
    assert "This name is taken" in html
    assert 'value="BERTA"' in html
    answer = await anna.ask("POST", "/you/name", form={"name": "Anna Lena"})
    assert "Name changed" in await text_of(await anna.ask("GET", answer.headers["Location"]))
    new = "a new password"
    for form, status, sentence in (
        ({"old": PASSWORD, "password": new, "again": "x"}, 422, "do not match"),
        ({"old": "wrong", "password": new, "again": new}, 403, "Wrong password"),
        ({"old": PASSWORD, "password": "short", "again": "short"}, 422, "at least 8"),
    ):
        answer = await anna.ask("POST", "/you/password", form=form)
        assert answer.status_code == status
        assert sentence in await text_of(answer)
    form = {"old": PASSWORD, "password": new, "again": new}
    assert (await anna.ask("POST", "/you/password", form=form)).status_code == 303
    assert (await anna.ask("GET", "/you")).status_code == 200
    assert (await BrowserClient(app).log_in("anna lena", new)).status_code == 303
    assert (await BrowserClient(app).log_in("anna")).status_code == 403


async def test_whoever_leaves_shows_that_they_mean_it(app: Quart) -> None:
    anna, berta = await sign_in(app, "anna"), await sign_in(app, "berta")
    answer = await anna.ask("POST", "/you/remove", form={"sure": PASSWORD})
    assert answer.status_code == 409
    assert "the only owner" in await text_of(answer)
    answer = await berta.ask("POST", "/you/remove", form={"sure": "wrong"})
    assert "Wrong password" in await text_of(answer)
    answer = await berta.ask("POST", "/you/remove", form={"sure": PASSWORD})
    assert answer.headers["Location"] == "/login?out=yes"
    assert (await berta.ask("GET", "/")).status_code == 303
    assert "berta" not in await text_of(await anna.ask("GET", "/people"))


async def test_an_owner_invites_and_withdraws(app: Quart) -> None:
    anna = await sign_in(app, "anna")
    html = await text_of(await anna.ask("POST", "/people/invite", form={"role": "member"}))
    found = re.search(r'value="http://localhost:8000(/join/[\w-]+)"', html)
    assert found
    assert "Others reach this machine at another address" in html
    assert found[1] not in await text_of(await anna.ask("GET", "/people"))  # only once
    (withdraw,) = re.findall(r'action="(/people/invites/\d+/withdraw)"', html)
    assert (await BrowserClient(app).ask("GET", found[1])).status_code == 200
    await anna.ask("POST", withdraw)
    assert (await BrowserClient(app).ask("GET", found[1])).status_code == 404
    assert (await anna.ask("POST", withdraw)).status_code == 404


async def test_an_owner_decides_about_users_but_not_about_the_last_owner(app: Quart) -> None:
    anna, berta = await sign_in(app, "anna"), await sign_in(app, "berta")
    her = (await context_of(app).users.get_by_name("berta")).id
    for verb in ("disable", "enable", "make-owner", "make-member"):
        assert (await anna.ask("POST", f"/people/{her}/{verb}")).status_code == 303
    assert (await berta.ask("GET", "/")).status_code == 303
    assert (await berta.log_in("berta")).status_code == 303
    for path, status in (
        ("/people/1/disable", 403),
        ("/people/1/remove", 403),
        ("/people/1/make-member", 409),
        ("/people/999/disable", 404),
        ("/people/999/remove", 404),
        ("/people/999/new-password", 404),
        (f"/people/{her}/delete", 405),
    ):
        answer = await anna.ask("POST", path)
        assert answer.status_code in {status, 404}, path
    asked = await text_of(await anna.ask("GET", "/people"))
    assert f'action="/people/{her}/remove" data-confirm="Remove berta? The account' in asked
    html = await text_of(await anna.ask("POST", f"/people/{her}/new-password"))
    assert "Password reset link for berta." in html
    assert "Remove berta?" in await text_of(await anna.ask("GET", f"/people/{her}/remove"))
    answer = await anna.ask("POST", f"/people/{her}/remove")
    assert "User removed" in await text_of(await anna.ask("GET", answer.headers["Location"]))


async def test_at_this_machine_the_pages_say_how_to_let_others_in(tmp_path: Path) -> None:
    async with run_app(tmp_path, models_dir=tmp_path) as made:
        visitor = BrowserClient(made)
        assert "nobody has to log in" in await text_of(await visitor.ask("GET", "/you"))
        assert "WICK_HOST=0.0.0.0" in await text_of(await visitor.ask("GET", "/people"))
        with pytest.raises(AssertionError):
            csrf_in(await text_of(await visitor.ask("GET", "/")))


def test_times_are_as_exact_as_one_cares() -> None:
    now = 1_700_000_000.0
    assert [time_ago(now - s, now) for s in (-5, 100, 130, 7100, 7300, 80000)] == [
        *("just now", "just now", "2 minutes ago", "118 minutes ago"),
        *("2 hours ago", "22 hours ago"),
    ]
    assert time_ago(now - 90000, now) == day_of(now - 90000)
