"""The entrance: finds out who every request and every socket comes from, and lets in who may.

Where nobody else reaches this machine, everybody is the owner. Else a login's cookie says who it
is, or for programs an API key, or for commands at this machine what they read in the data folder. A
route is for everybody who is logged in, unless it says `for_everybody`, `for_owners` or
`for_terminal`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlsplit

from quart import Quart, Response, abort, current_app, g, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from app.accounts.shown import LOGIN
from app.config import Settings
from app.errors import NotAllowed, NotLoggedIn
from app.web import cookies, csrf
from app.web import identity as identities
from app.web.api.access import by_key, by_secret
from app.web.api.paths import is_for_programs
from app.web.base_path import inside
from app.web.identity import Identity
from app.web.proxies import UNKNOWN
from app.web.state import state

View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
Audience = Literal["everybody", "people", "owners", "terminal"]
_FOR: Final[dict[Any, Audience]] = {}


def for_everybody(view: View) -> View:
    """A route that needs no login."""
    _FOR[view] = "everybody"
    return view


def for_owners(view: View) -> View:
    """A route that members may not use."""
    _FOR[view] = "owners"
    return view


def for_terminal(view: View) -> View:
    """A route for commands of this machine alone, not even for its owner's browser."""
    _FOR[view] = "terminal"
    return view


def audience(endpoint: str | None) -> Audience:
    """Who may use a route."""
    if endpoint == "static":
        return "everybody"
    return _FOR.get(current_app.view_functions.get(endpoint or ""), "people")


def keep_entrance(app: Quart, settings: Settings) -> None:
    """To be called after `security.protect`, whose checks come first."""

    @app.before_request
    async def enter() -> Response | None:
        if not settings.has_accounts:
            _refuse_foreign_proxies(request)
        if request.path.startswith("/static/"):
            return None  # the same for everybody, and kept by browsers: no cookie goes with it
        g.identity = who = await _who(request, settings)
        allowed = audience(request.endpoint)
        if who is None:
            return None if allowed == "everybody" else _turn_away()
        if who.login_id and request.method not in SAFE_METHODS:
            await csrf.check(who)
        if allowed == "owners" and not who.is_owner:
            raise NotAllowed("This is for the owner of this Wick.")
        if allowed == "terminal" and who.via != "terminal":
            raise NotAllowed("This is for commands of the machine on which Wick runs.")
        return None

    @app.before_websocket
    async def enter_socket() -> None:
        if not settings.has_accounts:
            _refuse_foreign_proxies(websocket)
        g.identity = who = await _who(websocket, settings)
        if who is None:
            abort(401)
        if audience(websocket.endpoint) == "owners" and not who.is_owner:
            abort(403)

    @app.after_request
    async def renew_cookie(response: Response) -> Response:
        if token := g.get("new_token"):
            cookies.put(response, LOGIN, token, is_secure=request.is_secure)
        return response


async def _who(asked: BaseRequestWebsocket, settings: Settings) -> Identity | None:
    if (who := await by_secret(asked)) is not None:
        return who
    if is_for_programs(asked.path) and (who := await by_key(asked)) is not None:
        return who
    if not settings.has_accounts:
        return identities.LOCAL
    return await _logged_in(asked)


async def _logged_in(asked: BaseRequestWebsocket) -> Identity | None:
    token = cookies.read(asked.cookies, LOGIN, is_secure=asked.is_secure)
    if not token:
        return None
    logins = state().logins
    login = await logins.find(token)
    if login is None:
        return None
    if asked.method == "GET" and asked.scheme in {"http", "https"}:
        g.new_token = await logins.rotated(login, token)
    return Identity(login.user_id, login.role, "login", login.name, login.id, login.csrf)


def _turn_away() -> Response:
    """Whoever is not logged in is led to where they can do so, and from there on."""
    sentence = "Please log in first."
    if is_for_programs(request.path):
        raise NotLoggedIn("Give an API key as `Authorization: Bearer KEY`, please.")
    if request.headers.get("HX-Request"):
        here = urlsplit(request.headers.get("HX-Current-URL", ""))
        back = inside(here.path) + (f"?{here.query}" if here.query else "")
        response = Response(sentence, status=401, content_type="text/plain; charset=utf-8")
        response.headers["HX-Redirect"] = login_address(back)
        return response
    if request.method in SAFE_METHODS and "text/plain" not in request.headers.get("Accept", ""):
        response = Response(status=303)
        response.headers["Location"] = login_address(request.full_path.rstrip("?"))
        return response
    raise NotLoggedIn(sentence)


def login_address(back: str) -> str:
    """`back`: where the person wants to be afterwards."""
    back = local_path(back)
    return "/login" if back == "/" else f"/login?next={quote(back, safe='/')}"


def local_path(text: str) -> str:
    """An address on this very server; `/` for everything that is none."""
    if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) and not text.startswith("/login"):
        return text
    return "/"


def _refuse_foreign_proxies(asked: BaseRequestWebsocket) -> None:
    """A proxy brings people from elsewhere, and without accounts everybody would be the owner."""
    if asked.scope.get(UNKNOWN):
        raise NotAllowed(
            "This came through a proxy, and this Wick has no accounts, so everybody would see all"
            " chats. Name the proxy in WICK_TRUSTED_PROXIES, and people will log in."
        )
