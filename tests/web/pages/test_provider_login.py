"""Logging in by a provider: who comes in as whom, what is refused, and how a session ends."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart

from app import audit
from app.accounts.oidc.authorization import MAX_AGE_SECONDS
from app.cli import serve
from app.config import Settings
from app.db.sessions import Session
from app.errors import ConfigError
from app.login_settings import ProviderSettings
from tests.application import PASSWORD, BrowserClient, context_of, csrf_in, run_app, text_of
from tests.openid import ScriptedProvider, real_provider, scripted_provider

BASE = "/wick"
LOGIN = "/login/with/company"
RunApp = Callable[..., AbstractAsyncContextManager[Quart]]


@pytest.fixture
def there() -> Iterator[ScriptedProvider]:
    with scripted_provider() as provider:
        yield provider


@pytest.fixture
def run(tmp_path: Path) -> RunApp:
    def start(*providers: ProviderSettings) -> AbstractAsyncContextManager[Quart]:
        return run_app(tmp_path, providers=providers, base_path=BASE)

    return start


@pytest.fixture
async def app(there: ScriptedProvider, run: RunApp) -> AsyncIterator[Quart]:
    """With the owner anna; the provider knows ann."""
    settings = there.settings(create=True, owner_groups=frozenset({"admins"}))
    async with run(settings) as made:
        await context_of(made).users.add("anna", PASSWORD, "owner")
        yield made


class Visitor(BrowserClient):
    """A browser that logs in by the provider."""

    def __init__(self, app: Quart, there: ScriptedProvider) -> None:
        super().__init__(app)
        self.there = there
        self.headers["Accept"] = "text/html"

    async def leave(self, query: str = "", path: str = LOGIN) -> str:
        """Begin a login; return the address to which the provider sends back."""
        answer = await self.ask("GET", path + query)
        assert answer.status_code == 303, await text_of(answer)
        return self.there.authorize(answer.headers["Location"])

    async def come(self, address: str) -> Any:
        prefix = f"http://localhost:8000{BASE}"
        assert address.startswith(prefix)
        return await self.ask("GET", address.removeprefix(prefix))

    async def log_in_there(self, query: str = "") -> Any:
        return await self.come(await self.leave(query))

    async def account(self) -> str:
        html = await text_of(await self.ask("GET", "/you"))
        self.headers["X-CSRF-Token"] = csrf_in(html)
        return html


async def names(app: Quart) -> list[str]:
    return [user.name for user in await context_of(app).users.list_users()]


async def sessions_of_ann(app: Quart) -> list[Session]:
    context = context_of(app)
    user = await context.users.get_by_name("ann")
    return await context.sessions.list_for_user(user.id)


async def problem_of(answer: Any) -> str:
    found = re.search(r'role="alert"[^>]*>([^<]+)<', await text_of(answer))
    return found[1] if found else ""


async def test_a_new_user_comes_in_and_is_shown(
    app: Quart, there: ScriptedProvider, tmp_path: Path
) -> None:
    visitor = Visitor(app, there)
    html = await text_of(await visitor.ask("GET", "/login?next=/archive"))
    assert f'href="{BASE}{LOGIN}?next=/archive">Log in with Company<' in html
    begun = await visitor.ask("GET", f"{LOGIN}?next=/archive")
    cookie = next(c for c in begun.headers.getlist("Set-Cookie") if "-oidc-" in c)
    for part in ("HttpOnly", "SameSite=Lax", f"Path={BASE}/", f"Max-Age={MAX_AGE_SECONDS}"):
        assert part in cookie
    answer = await visitor.log_in_there("?next=/archive")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{BASE}/archive")
    html = await visitor.account()
    assert "logged in with Company" in html
    assert "You have no password here" in html
    assert (await visitor.ask("GET", "/people")).status_code == 403
    user = await context_of(app).users.get_by_name("ann")
    assert (user.role, user.has_password) == ("member", False)
    events = [json.loads(line) for line in (tmp_path / audit.FILE).read_text().splitlines()]
    assert [e["event"] for e in events if e.get("method") == "oidc:company"] == [
        "person-added",
        "login",
    ]
    again = await visitor.ask("GET", LOGIN)
    assert again.headers["Location"] == f"{BASE}/"  # who is logged in is not sent away


async def test_groups_decide_the_role_at_every_login(app: Quart, there: ScriptedProvider) -> None:
    users = context_of(app).users
    for groups, role in ((["admins"], "owner"), ([], "member"), (["admins"], "owner")):
        there.user["groups"] = groups
        visitor = Visitor(app, there)
        await visitor.log_in_there()
        assert (await users.get_by_name("ann")).role == role
        assert (await visitor.ask("GET", "/people")).status_code == (
            200 if role == "owner" else 403
        )


async def test_an_account_that_is_there_is_entered_only_once_it_is_linked(
    app: Quart, there: ScriptedProvider
) -> None:
    there.user["preferred_username"] = "anna"
    stranger = Visitor(app, there)
    answer = await stranger.log_in_there()
    assert answer.status_code == 403
    assert "is taken here" in await problem_of(answer)
    assert not [c for c in answer.headers.getlist("Set-Cookie") if "-login-" in c]

    anna = Visitor(app, there)
    await anna.log_in("anna")
    assert "Link Company" in await anna.account()
    page = await text_of(await anna.log_in_there("?link=yes"))
    assert "without its password" in page
    ticket = re.search(r'name="ticket" value="([^"]+)"', page)
    assert ticket
    form = {"ticket": ticket[1], "csrf": csrf_in(page)}
    forged = await anna.ask(
        "POST", f"{LOGIN}/link", form={"ticket": ticket[1]}, headers={"X-CSRF-Token": "x"}
    )
    assert forged.status_code == 403
    other = Visitor(app, there)
    await context_of(app).users.add("berta", PASSWORD, "member")
    await other.log_in("berta")
    assert (await other.ask("POST", f"{LOGIN}/link", form={"ticket": ticket[1]})).status_code == 403

    page = await text_of(await anna.log_in_there("?link=yes"))
    form = {"ticket": re.findall(r'name="ticket" value="([^"]+)"', page)[0]}
    done = await anna.ask("POST", f"{LOGIN}/link", form=form)
    assert done.headers["Location"] == f"{BASE}/you?done=linked"
    html = await anna.account()
    assert "Link Company" not in html
    assert ">Unlink<" in html
    again = Visitor(app, there)
    assert (await again.log_in_there()).status_code == 303
    assert "anna" in await again.account()

    page = await text_of(await other.log_in_there("?link=yes"))
    form = {"ticket": re.findall(r'name="ticket" value="([^"]+)"', page)[0]}
    answer = await other.ask("POST", f"{LOGIN}/link", form=form)
    assert "linked to another account already" in await problem_of(answer)


async def test_linking_needs_the_session_that_has_begun_it(
    app: Quart, there: ScriptedProvider
) -> None:
    visitor = Visitor(app, there)
    answer = await visitor.ask("GET", f"{LOGIN}?link=yes")
    assert answer.headers["Location"] == f"{BASE}/login?next=/you"
    await visitor.log_in("anna")
    back = await visitor.leave("?link=yes")
    await visitor.account()
    await visitor.ask("POST", "/logout")
    visitor.headers.pop("X-CSRF-Token")
    answer = await visitor.come(back)
    assert answer.status_code == 403
    assert "expired" in await problem_of(answer)
    assert await names(app) == ["anna"]


async def test_tabs_do_not_disturb_each_other(app: Quart, there: ScriptedProvider) -> None:
    visitor = Visitor(app, there)
    first, second = await visitor.leave("?next=/archive"), await visitor.leave("?next=/trash")
    for _ in range(3):
        await visitor.leave()
    answer = await visitor.come(second)
    assert answer.headers["Location"] == f"{BASE}/trash"
    answer = await visitor.come(first)
    assert answer.headers["Location"] == f"{BASE}/archive"
    answer = await visitor.come(second)  # by Back
    assert answer.headers["Location"] == f"{BASE}/"
    assert len(await sessions_of_ann(app)) == 1
    visitor = Visitor(app, there)
    for _ in range(20):
        await visitor.leave()
    cookies = [c for c in visitor.client.cookie_jar or () if "-oidc-" in c.name]
    assert len(cookies) <= 6


@pytest.mark.parametrize("harm", ["other browser", "changed state", "old", "no state", "forged"])
async def test_an_answer_to_no_login_of_this_browser_is_refused(
    app: Quart, there: ScriptedProvider, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor(app, there)
    back = await visitor.leave()
    if harm == "other browser":
        visitor = Visitor(app, there)
    elif harm == "changed state":
        back = re.sub("state=....", "state=xxxx", back)
    elif harm == "no state":
        back = back.partition("?")[0]
    elif harm == "forged":
        for cookie in visitor.client.cookie_jar or ():
            if "-oidc-" in cookie.name:
                cookie.value = f"{(cookie.value or '').partition('.')[0]}.x"
    else:
        late = time.time() + MAX_AGE_SECONDS + 5
        monkeypatch.setattr("app.web.security.authorization_cookies.time.time", lambda: late)
    answer = await visitor.come(back)
    assert answer.status_code == 403
    assert "expired" in await problem_of(answer)
    assert "/token" not in there.requests
    assert await names(app) == ["anna"]


async def test_one_provider_does_not_answer_for_another(
    there: ScriptedProvider, run: RunApp
) -> None:
    with scripted_provider() as other:
        providers = there.settings(), other.settings(name="other", create=True)
        async with run(*providers) as app:
            await context_of(app).users.add("anna", PASSWORD, "owner")
            visitor = Visitor(app, there)
            back = await visitor.leave()
            answer = await visitor.come(back.replace("/company/", "/other/"))
            assert answer.status_code == 403
            assert other.requests == []
            html = await text_of(await visitor.ask("GET", "/login"))
            assert html.index("Log in with Company") < html.index("Log in with Other")
            assert (await visitor.ask("GET", "/login/with/none")).status_code == 404
            assert (await visitor.ask("POST", "/login/with/none/backchannel")).status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        ("access_denied", 403, "you cancelled"),
        ("temporarily_unavailable", 503, "Try again later"),
        ("invalid_scope", 502, "(invalid_scope)"),
        ("<b>call 555", 502, "(unknown error)"),
    ],
)
async def test_an_error_of_the_provider_is_a_sentence(
    app: Quart, there: ScriptedProvider, error: str, status: int, sentence: str
) -> None:
    visitor = Visitor(app, there)
    there.parameters = {"error": error, "error_description": "Call 555-1234 now"}
    answer = await visitor.log_in_there()
    assert answer.status_code == status
    assert sentence in await problem_of(answer)
    html = await text_of(answer)
    assert "555" not in html
    assert 'name="password"' in html


async def test_an_outage_locks_no_owner_out(app: Quart, there: ScriptedProvider) -> None:
    there.close()
    visitor = Visitor(app, there)
    answer = await visitor.ask("GET", LOGIN)
    assert answer.status_code == 503
    assert await problem_of(answer) == "Company can&#39;t be reached."
    html = await text_of(await BrowserClient(app).ask("GET", "/login"))
    assert "Company can&#39;t be reached. You can still log in with a password." in html
    assert (await visitor.log_in("anna")).status_code == 303
    answer = await visitor.ask("GET", f"{LOGIN}?link=yes")
    assert "reached" in await text_of(answer)


async def test_who_is_not_allowed_in_is_told_why(
    there: ScriptedProvider, run: RunApp, tmp_path: Path
) -> None:
    async with run(there.settings(allowed_groups=frozenset({"staff"}))) as app:
        users = context_of(app).users
        there.user["groups"] = ["staff"]
        answer = await Visitor(app, there).log_in_there()
        assert answer.status_code == 403
        assert "no owner yet" in await text_of(answer)
        await users.add("anna", PASSWORD, "owner")
        there.user["groups"] = ["guests"]
        answer = await Visitor(app, there).log_in_there()
        assert "none of the groups" in await problem_of(answer)
        there.user["groups"] = ["staff"]
        answer = await Visitor(app, there).log_in_there()
        assert "No account here is linked" in await problem_of(answer)
        failed = [json.loads(line) for line in (tmp_path / audit.FILE).read_text().splitlines()]
        reasons = [e["reason"] for e in failed if e["event"] == "login-failed"]
        assert reasons == ["IdentityRefused"] * 3
    async with run(there.settings(create=True)) as app:
        await Visitor(app, there).log_in_there()
        users = context_of(app).users
        await users.disable((await users.get_by_name("ann")).id)
        answer = await Visitor(app, there).log_in_there()
        assert "disabled" in await problem_of(answer)


async def test_an_account_of_the_same_name_is_entered_where_an_owner_wants_that(
    there: ScriptedProvider, run: RunApp
) -> None:
    async with run(there.settings(link_by="email")) as app:
        users = context_of(app).users
        await users.add("anna", PASSWORD, "owner")
        await users.add("Ann@example.org", PASSWORD, "member")
        there.user["email_verified"] = False
        assert (await Visitor(app, there).log_in_there()).status_code == 403
        there.user["email_verified"] = True
        visitor = Visitor(app, there)
        assert (await visitor.log_in_there()).status_code == 303
        assert "Ann@example.org" in await visitor.account()
        there.user |= {"sub": "mallory", "email": "Ａnn@example.org"}  # a wide A
        assert (await Visitor(app, there).log_in_there()).status_code == 403
        there.user |= {"sub": "ann-1", "email": "moved@example.org"}  # it is linked by now
        assert (await Visitor(app, there).log_in_there()).status_code == 303


async def test_logging_out_leads_to_the_provider_if_the_user_wants(
    app: Quart, there: ScriptedProvider
) -> None:
    visitor = Visitor(app, there)
    await visitor.log_in_there()
    await visitor.account()
    answer = await visitor.ask("POST", "/logout")
    address = answer.headers["Location"].removeprefix(BASE)
    assert address.startswith("/login?out=yes&ticket=")
    html = await text_of(await visitor.ask("GET", address))
    found = re.search(r'href="/wick(/login/with/company/logout\?ticket=[^"]+)"', html)
    assert found
    answer = await visitor.ask("GET", found[1])
    assert answer.headers["Location"].startswith(f"{there.issuer}/logout?client_id=wick&id_token_h")
    back = f"post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A8000%2Fwick%2F{LOGIN[1:]}"
    assert f"{back.replace('login/with/', 'login%2Fwith%2F')}%2Fout" in answer.headers["Location"]
    answer = await visitor.ask("GET", f"{LOGIN}/out")
    assert answer.headers["Location"] == f"{BASE}/login?out=yes"
    answer = await visitor.ask("GET", f"{LOGIN}/logout?ticket=x")
    assert answer.headers["Location"] == f"{BASE}/login?out=yes"


async def test_a_provider_ends_sessions_by_itself(
    app: Quart, there: ScriptedProvider, tmp_path: Path
) -> None:
    visitor, other = Visitor(app, there), Visitor(app, there)
    await visitor.log_in_there()
    there.changes = {"sid": "session 2"}
    await other.log_in_there()
    anna = BrowserClient(app)
    await anna.log_in("anna")

    async def notify(token: str) -> Any:
        return await app.test_client().post(
            f"{LOGIN}/backchannel",
            form={"logout_token": token},
            headers={"Host": "localhost:8000"},
        )

    session = (await sessions_of_ann(app))[0]
    with context_of(app).sessions.watch(session.id) as ended:
        answer = await notify(there.logout_token(sid="session 2"))
        assert (answer.status_code, ended.is_set()) == (200, True)
    assert (await other.ask("GET", "/you")).status_code == 303
    assert (await visitor.ask("GET", "/you")).status_code == 200
    for wrong in ("", "x", there.logout_token(aud="another")):
        assert (await notify(wrong)).status_code == 400
    assert (await notify(there.logout_token(sub="anna"))).status_code == 200  # nobody there
    assert (await visitor.ask("GET", "/you")).status_code == 200
    assert (await notify(there.logout_token())).status_code == 200
    assert (await visitor.ask("GET", "/you")).status_code == 303
    assert (await anna.ask("GET", "/you")).status_code == 200
    events = [json.loads(line) for line in (tmp_path / audit.FILE).read_text().splitlines()]
    assert [e["by"] for e in events if e["event"] == "login-ended"] == ["company", "company"]


async def test_a_session_by_a_provider_has_an_end(app: Quart, there: ScriptedProvider) -> None:
    visitor, context = Visitor(app, there), context_of(app)
    await visitor.log_in_there()
    await context.provider_sessions.end_old()
    assert (await visitor.ask("GET", "/you")).status_code == 200
    week = there.settings().session
    context.provider_sessions._clock = lambda: time.time() + week + 1
    await context.provider_sessions.end_old()
    assert (await visitor.ask("GET", "/you")).status_code == 303
    assert await names(app) == ["anna", "ann"]


async def test_a_provider_that_is_no_longer_there_leaves_its_sessions_a_name(
    there: ScriptedProvider, run: RunApp
) -> None:
    async with run(there.settings(create=True)) as app:
        await context_of(app).users.add("anna", PASSWORD, "owner")
        visitor = Visitor(app, there)
        await visitor.log_in_there()
        context_of(app).providers.settings.clear()
        assert "logged in with company" in await visitor.account()
        answer = await visitor.ask("POST", "/logout")
        address = answer.headers["Location"].removeprefix(BASE)
        assert "Log out of" not in await text_of(await visitor.ask("GET", address))


async def test_with_a_real_provider(run: RunApp) -> None:
    """One that is made for tests of others, in its own process."""
    ann = {"sub": "ann-1", "preferred_username": "ann", "groups": ["admins"]}
    with real_provider(ann) as issuer:
        settings = ProviderSettings(
            name="company",
            issuer=issuer,
            client_id="wick",
            client_secret="x",
            create=True,
            owner_groups=frozenset({"admins"}),
        )
        async with run(settings) as app, httpx.AsyncClient() as web:
            await context_of(app).users.add("anna", PASSWORD, "owner")
            visitor = BrowserClient(app)
            begun = await visitor.ask("GET", LOGIN)
            done = await web.post(begun.headers["Location"], data={"sub": "ann-1"})
            back = done.headers["Location"].removeprefix(f"http://localhost:8000{BASE}")
            assert (await visitor.ask("GET", back)).status_code == 303
            assert (await visitor.ask("GET", "/people")).status_code == 200
            begun = await BrowserClient(app).ask("GET", LOGIN)
            denied = await web.post(begun.headers["Location"], data={"action": "deny"})
            assert "error=access_denied" in denied.headers["Location"]


def test_a_start_without_accounts_or_libraries_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    company = ProviderSettings(name="company", issuer="https://x.example", client_id="wick")
    with pytest.raises(ConfigError, match="needs accounts"):
        serve.check(Settings(providers=(company,), accounts="off"))
    serve.check(Settings(providers=(company,)))
    monkeypatch.setattr("app.accounts.oidc.providers.MODULES", ("no_such_library",))
    with pytest.raises(ConfigError, match=r"pip install 'wick\[oidc\]'"):
        serve.check(Settings(providers=(company,)))
    serve.check(Settings())
