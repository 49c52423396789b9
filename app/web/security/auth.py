"""Authentication of every request and socket, and what each route asks for.

Where nobody else reaches this machine, everybody is the owner. Else a session's cookie says who it
is, or for programs an API key, or for commands at this machine what they read in the data folder. A
route is for all who are logged in, unless it says `public`, `owner_required` or `local_cli_only`.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlsplit

from quart import Quart, Response, abort, current_app, g, request, websocket
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.datastructures import Headers
from werkzeug.sansio.response import Response as SansIOResponse

from app.accounts.api_keys import PREFIX, SCOPES
from app.accounts.external_identities import PROXY
from app.accounts.sessions import (
    CSRF_COOKIE,
    CSRF_HEADER,
    DEVICE_COOKIE,
    DEVICE_SECONDS,
    MAX_AGE_SECONDS,
    SESSION_COOKIE,
    cookie_name,
    describe_user_agent,
)
from app.audit import audit
from app.config import Settings
from app.db.sessions import Session
from app.db.users import LOCAL_USER, User
from app.errors import IdentityRefused, NotAllowed, NotLoggedIn
from app.web.addresses import (
    OWN_API,
    inside,
    is_api_path,
    is_by_program,
    is_stored_response_path,
)
from app.web.context import server_context
from app.web.security import identity as identities
from app.web.security.hosts import SAFE_METHODS
from app.web.security.identity import Identity, identity
from app.web.security.proxies import UNTRUSTED_PROXY
from app.web.security.proxy_login import check_session, proxied_identity

View = TypeVar("View", bound=Callable[..., Any])
Audience = Literal["public", "user", "owner", "local_cli"]
_AUDIENCES: Final[dict[Any, Audience]] = {}


def public(view: View) -> View:
    """Mark a route that needs no session."""
    _AUDIENCES[view] = "public"
    return view


def owner_required(view: View) -> View:
    """Mark a route that members may not use."""
    _AUDIENCES[view] = "owner"
    return view


def local_cli_only(view: View) -> View:
    """Mark a route for commands of this machine alone, not even for its owner's browser."""
    _AUDIENCES[view] = "local_cli"
    return view


def required_audience(endpoint: str | None) -> Audience:
    """Return who may use a route."""
    if endpoint == "static":
        return "public"
    return _AUDIENCES.get(current_app.view_functions.get(endpoint or ""), "user")


def install(app: Quart, settings: Settings) -> None:
    """Install the checks. Call it after `hosts.install`, whose checks come first."""

    @app.before_request
    async def check_request() -> Response | None:
        if not settings.has_accounts:
            _refuse_foreign_proxies(request)
        if request.path.startswith("/static/"):
            return None  # public, and kept by browsers: no cookie goes with it
        g.identity = caller = await _authenticate(request, settings)
        audience = required_audience(request.endpoint)
        if caller is None and audience != "public":
            with contextlib.suppress(IdentityRefused):  # the login page says it
                g.identity = caller = await enter_by_proxy()
        if caller is None:
            return None if audience == "public" else _redirect_to_login()
        if caller.session_id and request.method not in SAFE_METHODS:
            await _check_csrf(caller)
        if audience == "owner" and not caller.is_owner:
            raise NotAllowed("Only owners can open this page.")
        if audience == "local_cli" and caller.via != "terminal":
            raise NotAllowed("Only commands on the machine running Wick can do this.")
        return None

    @app.before_websocket
    async def check_upgrade() -> None:
        if not settings.has_accounts:
            _refuse_foreign_proxies(websocket)
        g.identity = caller = await _authenticate(websocket, settings)
        if caller is None:
            abort(401)
        if required_audience(websocket.endpoint) == "owner" and not caller.is_owner:
            abort(403)

    @app.after_request
    async def renew_cookie(response: Response) -> Response:
        if token := g.get("new_token"):
            set_cookie(response, SESSION_COOKIE, token, is_secure=request.is_secure)
        return response


async def _authenticate(connection: BaseRequestWebsocket, settings: Settings) -> Identity | None:
    if (caller := await _authenticate_local_cli(connection)) is not None:
        return caller
    if is_api_path(connection.path) and (caller := await authenticate_key(connection)) is not None:
        return caller
    if not settings.has_accounts:
        return identities.LOCAL
    return await _authenticate_session(connection)


async def _authenticate_session(connection: BaseRequestWebsocket) -> Identity | None:
    token = read_cookie(connection.cookies, SESSION_COOKIE, is_secure=connection.is_secure)
    if not token:
        return None
    sessions = server_context().sessions
    session = await sessions.authenticate(token)
    if session is not None:
        session = await check_session(connection.scope, session)
    if session is None:
        return None
    if connection.method == "GET" and connection.scheme in {"http", "https"}:
        g.new_token = await sessions.rotate_token(session, token)
    return _identity_of(session)


def _identity_of(session: Session) -> Identity:
    return Identity(session.user_id, session.role, "login", session.name, session.id, session.csrf)


async def begin_session(user: User, method: str) -> Identity:
    """Begin a session of this browser; the response carries its cookie."""
    device = describe_user_agent(request.headers.get("User-Agent", ""))
    sessions = server_context().sessions
    g.new_token, session = await sessions.create(user.id, device, request.remote_addr or "", method)
    g.identity = entered = _identity_of(session)
    return entered


async def enter_by_proxy() -> Identity | None:
    """Log in a browser whose user a trusted proxy names, when it opens a page.

    Raises IdentityRefused where no account is theirs.
    """
    identity = proxied_identity(request.scope)
    is_page = request.method == "GET" and not is_api_path(request.path)
    if identity is None or not is_page or is_by_program(request.headers):
        return None
    identities = server_context().identities
    return await begin_session(
        await identities.authenticate(identity, request.remote_addr or ""), PROXY
    )


# API keys, and commands of this machine.

_FOR_ANY_KEY = frozenset({"/api/show"})


async def authenticate_key(connection: BaseRequestWebsocket) -> Identity | None:
    """Find the user of the key that comes with this; None when none of ours comes with it.

    Programs insist on having a key and send whatever they are given, so what is none of ours counts
    as none. Raises NotLoggedIn for one that does not hold, NotAllowed for one that may not do this.
    """
    secret = _bearer_token(connection.headers)
    if not secret.startswith(PREFIX):
        return None
    holder = await server_context().api_keys.authenticate(secret)
    if holder is None:
        audit("key-refused", path=connection.path, address=connection.remote_addr)
        raise NotLoggedIn("Invalid or revoked API key.")
    user, key = holder
    scope = scope_of(connection.method, connection.path)
    if scope and scope not in key.scopes:
        raise NotAllowed(f"The API key “{key.name}” is not allowed to {SCOPES[scope]}.")
    return Identity(user.id, user.role, "key", user.name)


async def _authenticate_local_cli(connection: BaseRequestWebsocket) -> Identity | None:
    """Take a command of this machine, which shows what the data folder says, for an owner."""
    context, given = server_context(), _bearer_token(connection.headers)
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), context.secret.encode()):
        return None
    is_shared = context.settings.has_accounts
    user_id = await context.users.first_owner() if is_shared else LOCAL_USER
    return Identity(user_id, "owner", "terminal")


def authorization_check() -> Callable[[], Awaitable[bool]]:
    """Return what tells later, when the request is handled no more, whether its key or session
    still holds."""
    context, caller, secret = server_context(), identity(), _bearer_token(request.headers)

    async def holds() -> bool:
        if caller.via == "key":
            return await context.api_keys.authenticate(secret) is not None
        return caller.via != "login" or await context.sessions.is_active(caller.session_id)

    return holds


def _bearer_token(headers: Headers) -> str:
    """Return the key in a request, empty if there is none."""
    kind, _, secret = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return secret.strip()
    return headers.get("X-Api-Key", "").strip()


def scope_of(method: str, path: str) -> str:
    """Return the scope that a key must have; empty where any key will do."""
    is_reading = method in SAFE_METHODS
    if path.startswith(OWN_API):
        return "read" if is_reading else "write"
    if is_stored_response_path(path):
        return "chat"
    return "" if is_reading or path in _FOR_ANY_KEY else "chat"


def _redirect_to_login() -> Response:
    """Redirect to the login page, and from there back to the address asked for."""
    sentence = "Log in first."
    if is_api_path(request.path):
        raise NotLoggedIn("Send an API key: `Authorization: Bearer KEY`.")
    if request.headers.get("HX-Request"):
        context = urlsplit(request.headers.get("HX-Current-URL", ""))
        back = inside(context.path) + (f"?{context.query}" if context.query else "")
        response = Response(sentence, status=401, content_type="text/plain; charset=utf-8")
        response.headers["HX-Redirect"] = _login_address(back)
        return response
    if request.method in SAFE_METHODS and "text/plain" not in request.headers.get("Accept", ""):
        response = Response(status=303)
        response.headers["Location"] = _login_address(request.full_path.rstrip("?"))
        return response
    raise NotLoggedIn(sentence)


def _login_address(back: str) -> str:
    """Return the address to log in at; `back`: where the user wants to be afterwards."""
    back = local_path(back)
    return "/login" if back == "/" else f"/login?next={quote(back, safe='/')}"


def local_path(text: str) -> str:
    """Return an address on this very server; `/` for everything that is none."""
    if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) and not text.startswith("/login"):
        return text
    return "/"


def _refuse_foreign_proxies(connection: BaseRequestWebsocket) -> None:
    """Refuse what a proxy brings from elsewhere: without accounts everybody would be the owner."""
    if connection.scope.get(UNTRUSTED_PROXY):
        raise NotAllowed(
            "This request came through a proxy, but Wick has no accounts: anyone could read"
            " all chats. Set WICK_TRUSTED_PROXIES to the proxy, and users will have to log in."
        )


# What a form must carry to show that one of our own pages has sent it.
# Behind the check of the Origin, which browsers send, this is a second door: a token of the
# session, in a header that htmx adds to everything it sends (`templates/_csrf.html`), or in a field
# of a plain form. A form that is sent without a session carries what a cookie says.

FIELD = "csrf"
FORM_EXPIRED = "This page is out of date. Reload it and try again."


async def _check_csrf(caller: Identity) -> None:
    """Check the token that comes with a form. Raises NotAllowed."""
    given = request.headers.get(CSRF_HEADER, "")
    if not given and request.mimetype == "application/x-www-form-urlencoded":
        given = (await request.form).get(FIELD, "")
    if not _same(given, caller.csrf):
        audit("refused", what="CSRF token", user=caller.user_id, address=request.remote_addr)
        raise NotAllowed(FORM_EXPIRED)


def new_token() -> str:
    """Return the token of a form sent without a session; `store_token` sets the cookie."""
    known = read_cookie(request.cookies, CSRF_COOKIE, is_secure=request.is_secure)
    return known or secrets.token_urlsafe(16)


def store_token(response: Response, token: str) -> None:
    set_cookie(response, CSRF_COOKIE, token, is_secure=request.is_secure)


async def is_own_form() -> bool:
    """Return whether a form sent without a session comes from a page of ours."""
    kept = read_cookie(request.cookies, CSRF_COOKIE, is_secure=request.is_secure)
    return _same((await request.form).get(FIELD, ""), kept)


def _same(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


# Cookies.

_COOKIE_AGES: Final = {SESSION_COOKIE: int(MAX_AGE_SECONDS), DEVICE_COOKIE: DEVICE_SECONDS}


def read_cookie(cookies: Mapping[str, str], kind: str, *, is_secure: bool) -> str:
    """Return what the browser has kept; empty for nothing."""
    return cookies.get(_cookie_name(kind, is_secure=is_secure), "")


def set_cookie(response: SansIOResponse, kind: str, value: str, *, is_secure: bool) -> None:
    """Set a cookie: a session's for as long as it may last, a form's until the browser is closed, a
    device's for long."""
    response.set_cookie(
        _cookie_name(kind, is_secure=is_secure),
        value,
        max_age=_COOKIE_AGES.get(kind),
        path=f"{server_context().settings.base_path}/",
        secure=is_secure,
        httponly=True,
        samesite="Lax" if kind == SESSION_COOKIE else "Strict",
    )


def delete_cookie(response: SansIOResponse, kind: str, *, is_secure: bool) -> None:
    response.delete_cookie(
        _cookie_name(kind, is_secure=is_secure),
        path=f"{server_context().settings.base_path}/",
        secure=is_secure,
        httponly=True,
        samesite="Lax" if kind == SESSION_COOKIE else "Strict",
    )


def _cookie_name(kind: str, *, is_secure: bool) -> str:
    settings = server_context().settings
    return cookie_name(kind, settings.port, is_secure=is_secure, is_alone=not settings.base_path)
