"""Our cookies, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from werkzeug.sansio.response import Response

from app.accounts.sessions import (
    DEVICE_COOKIE,
    DEVICE_SECONDS,
    MAX_AGE_SECONDS,
    SESSION_COOKIE,
    cookie_name,
)
from app.web.context import server_context

_AGES: Final = {SESSION_COOKIE: int(MAX_AGE_SECONDS), DEVICE_COOKIE: DEVICE_SECONDS}


def read(cookies: Mapping[str, str], kind: str, *, is_secure: bool) -> str:
    """Return what the browser has kept; empty for nothing."""
    return cookies.get(_name(kind, is_secure=is_secure), "")


def put(response: Response, kind: str, value: str, *, is_secure: bool) -> None:
    """A session's as long as it may last, a form's until the browser is closed, a device's for
    long."""
    response.set_cookie(
        _name(kind, is_secure=is_secure),
        value,
        max_age=_AGES.get(kind),
        path=f"{server_context().settings.base_path}/",
        secure=is_secure,
        httponly=True,
        samesite="Lax" if kind == SESSION_COOKIE else "Strict",
    )


def drop(response: Response, kind: str, *, is_secure: bool) -> None:
    response.delete_cookie(
        _name(kind, is_secure=is_secure),
        path=f"{server_context().settings.base_path}/",
        secure=is_secure,
        httponly=True,
        samesite="Lax" if kind == SESSION_COOKIE else "Strict",
    )


def _name(kind: str, *, is_secure: bool) -> str:
    settings = server_context().settings
    return cookie_name(kind, settings.port, is_secure=is_secure, is_alone=not settings.base_path)
