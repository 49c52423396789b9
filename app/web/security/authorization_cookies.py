"""Cookies of authorization requests: one for each login that is under way at a provider.

They are `Lax`, since the provider's answer comes from its site, and end with the request.
"""

from __future__ import annotations

import time
from typing import Final

from quart import request
from werkzeug.sansio.response import Response as SansIOResponse

from app.accounts.oidc.authorization import (
    EXPIRED,
    MAX_AGE_SECONDS,
    AuthorizationRequest,
    cookie_suffix,
    open_request,
    sign_request,
)
from app.accounts.sessions import cookie_name
from app.errors import LoginExpired
from app.web.context import server_context

MAX_REQUESTS: Final = 6
"""Of one browser. More would soon be a head that is too large for a request."""


def keep_request(response: SansIOResponse, started: AuthorizationRequest) -> None:
    """Have the browser keep a request; older ones than the newest few give way."""
    ours = [name for name in request.cookies if name.startswith(_name(""))]
    for name in ours[: max(0, len(ours) - MAX_REQUESTS + 1)]:
        _delete(response, name)
    response.set_cookie(
        _name(cookie_suffix(started.state)),
        sign_request(started, server_context().secret),
        max_age=MAX_AGE_SECONDS,
        path=_path(),
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def find_request(provider: str, state: str) -> AuthorizationRequest:
    """Return the request of this browser that a provider answers. Raises LoginExpired."""
    suffix = cookie_suffix(state)
    cookie = request.cookies.get(_name(suffix), "") if suffix else ""
    if not cookie:
        raise LoginExpired(EXPIRED)
    secret = server_context().secret
    return open_request(cookie, secret, provider=provider, state=state, now=time.time())


def forget_request(response: SansIOResponse, state: str) -> None:
    """Have the browser forget a request: it is answered once."""
    suffix = cookie_suffix(state)
    if suffix and _name(suffix) in request.cookies:
        _delete(response, _name(suffix))


def _delete(response: SansIOResponse, name: str) -> None:
    response.delete_cookie(
        name, path=_path(), secure=request.is_secure, httponly=True, samesite="Lax"
    )


def _name(suffix: str) -> str:
    """Name a cookie; without a suffix, return how all of them begin."""
    settings = server_context().settings
    is_alone = not settings.base_path
    start = cookie_name("oidc", settings.port, is_secure=request.is_secure, is_alone=is_alone)
    return f"{start}-{suffix}"


def _path() -> str:
    return f"{server_context().settings.base_path}/"
