"""Authentication of every request and socket, and the CSRF token of forms."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlsplit

from quart import Quart, Response, abort, current_app, g, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from app.accounts.sessions import CSRF_COOKIE, CSRF_HEADER, SESSION_COOKIE
from app.audit import audit
from app.config import Settings
from app.errors import NotAllowed, NotLoggedIn
from app.web.addresses import inside, is_api_path
from app.web.context import server_context
from app.web.security import cookies
from app.web.security import identity as identities
from app.web.security.api_auth import authenticate_key, authenticate_local_cli
from app.web.security.hosts import SAFE_METHODS
from app.web.security.identity import Identity
from app.web.security.proxies import UNTRUSTED_PROXY

# What a form must carry to show that one of our own pages has sent it.
#
# Behind the check of the Origin, which browsers send, this is a second door: a token of the
# session, in a header that htmx adds to everything it sends (`templates/_csrf.html`), or in a field
# of a plain form. Forms of people who are not logged in yet carry what a cookie of theirs says.


FIELD = "csrf"
FORM_EXPIRED = "This page is out of date. Reload it and try again."


async def check(who: Identity) -> None:
    """Raises NotAllowed."""
    given = request.headers.get(CSRF_HEADER, "")
    if not given and request.mimetype == "application/x-www-form-urlencoded":
        given = (await request.form).get(FIELD, "")
    if not _same(given, who.csrf):
        audit("refused", what="CSRF token", user=who.user_id, address=request.remote_addr)
        raise NotAllowed(FORM_EXPIRED)


def new_token() -> str:
    """Return the token of a form sent without a session; `store_token` sets the cookie."""
    known = cookies.read(request.cookies, CSRF_COOKIE, is_secure=request.is_secure)
    return known or secrets.token_urlsafe(16)


def store_token(response: Response, token: str) -> None:
    cookies.put(response, CSRF_COOKIE, token, is_secure=request.is_secure)


async def is_own_form() -> bool:
    """Return whether a form sent without a session comes from the page they were given."""
    kept = cookies.read(request.cookies, CSRF_COOKIE, is_secure=request.is_secure)
    return _same((await request.form).get(FIELD, ""), kept)


def _same(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


# The entrance: finds out who every request and every socket comes from, and lets in who may.
#
# Where nobody else reaches this machine, everybody is the owner. Else a session's cookie says who
# it is, or for programs an API key, or for commands at this machine what they read in the data
# folder. A route is for everybody who is logged in, unless it says `public`, `owner_required` or
# `local_cli_only`.


View = TypeVar("View", bound=Callable[..., Any])
Audience = Literal["everybody", "people", "owners", "terminal"]
_FOR: Final[dict[Any, Audience]] = {}


def public(view: View) -> View:
    """A route that needs no session."""
    _FOR[view] = "everybody"
    return view


def owner_required(view: View) -> View:
    """A route that members may not use."""
    _FOR[view] = "owners"
    return view


def local_cli_only(view: View) -> View:
    """A route for commands of this machine alone, not even for its owner's browser."""
    _FOR[view] = "terminal"
    return view


def required_role(endpoint: str | None) -> Audience:
    """Return who may use a route."""
    if endpoint == "static":
        return "everybody"
    return _FOR.get(current_app.view_functions.get(endpoint or ""), "people")


def install(app: Quart, settings: Settings) -> None:
    """Install the checks. Call it after `hosts.install`, whose checks come first."""

    @app.before_request
    async def enter() -> Response | None:
        if not settings.has_accounts:
            _refuse_foreign_proxies(request)
        if request.path.startswith("/static/"):
            return None  # the same for everybody, and kept by browsers: no cookie goes with it
        g.identity = who = await _authenticate(request, settings)
        allowed = required_role(request.endpoint)
        if who is None:
            return None if allowed == "everybody" else _redirect_to_login()
        if who.session_id and request.method not in SAFE_METHODS:
            await check(who)
        if allowed == "owners" and not who.is_owner:
            raise NotAllowed("Only owners can open this page.")
        if allowed == "terminal" and who.via != "terminal":
            raise NotAllowed("Only commands on the machine running Wick can do this.")
        return None

    @app.before_websocket
    async def enter_socket() -> None:
        if not settings.has_accounts:
            _refuse_foreign_proxies(websocket)
        g.identity = who = await _authenticate(websocket, settings)
        if who is None:
            abort(401)
        if required_role(websocket.endpoint) == "owners" and not who.is_owner:
            abort(403)

    @app.after_request
    async def renew_cookie(response: Response) -> Response:
        if token := g.get("new_token"):
            cookies.put(response, SESSION_COOKIE, token, is_secure=request.is_secure)
        return response


async def _authenticate(asked: BaseRequestWebsocket, settings: Settings) -> Identity | None:
    if (who := await authenticate_local_cli(asked)) is not None:
        return who
    if is_api_path(asked.path) and (who := await authenticate_key(asked)) is not None:
        return who
    if not settings.has_accounts:
        return identities.LOCAL
    return await _logged_in(asked)


async def _logged_in(asked: BaseRequestWebsocket) -> Identity | None:
    token = cookies.read(asked.cookies, SESSION_COOKIE, is_secure=asked.is_secure)
    if not token:
        return None
    sessions = server_context().sessions
    session = await sessions.authenticate(token)
    if session is None:
        return None
    if asked.method == "GET" and asked.scheme in {"http", "https"}:
        g.new_token = await sessions.rotate_token(session, token)
    return Identity(session.user_id, session.role, "login", session.name, session.id, session.csrf)


def _redirect_to_login() -> Response:
    """Redirect to the session page, and from there back to the address asked for."""
    sentence = "Log in first."
    if is_api_path(request.path):
        raise NotLoggedIn("Send an API key: `Authorization: Bearer KEY`.")
    if request.headers.get("HX-Request"):
        context = urlsplit(request.headers.get("HX-Current-URL", ""))
        back = inside(context.path) + (f"?{context.query}" if context.query else "")
        response = Response(sentence, status=401, content_type="text/plain; charset=utf-8")
        response.headers["HX-Redirect"] = login_address(back)
        return response
    if request.method in SAFE_METHODS and "text/plain" not in request.headers.get("Accept", ""):
        response = Response(status=303)
        response.headers["Location"] = login_address(request.full_path.rstrip("?"))
        return response
    raise NotLoggedIn(sentence)


def login_address(back: str) -> str:
    """`back`: where the user wants to be afterwards."""
    back = local_path(back)
    return "/login" if back == "/" else f"/login?next={quote(back, safe='/')}"


def local_path(text: str) -> str:
    """An address on this very server; `/` for everything that is none."""
    if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) and not text.startswith("/login"):
        return text
    return "/"


def _refuse_foreign_proxies(asked: BaseRequestWebsocket) -> None:
    """A proxy brings people from elsewhere, and without accounts everybody would be the owner."""
    if asked.scope.get(UNTRUSTED_PROXY):
        raise NotAllowed(
            "This request came through a proxy, but Wick has no accounts: anyone could read"
            " all chats. Set WICK_TRUSTED_PROXIES to the proxy, and users will have to log in."
        )
