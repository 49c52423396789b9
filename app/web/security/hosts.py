"""Checks of Host and Origin: a server on this machine talks to its own pages alone.

Any website can make a browser send requests to localhost. A page that was loaded from elsewhere
names its own origin; a rebound DNS name shows up as a foreign Host. Both are refused before
anything else runs.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from quart import Quart, Response, abort, request, websocket
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound

from app.audit import audit
from app.config import Settings
from app.web.addresses import is_api_path, is_by_program, is_ollama_path
from app.web.bodies import FORM, NOT_JSON, is_json
from app.web.context import server_context
from app.web.security.proxies import UNTRUSTED_PROXY

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing, so any page may make a browser send them."""
SIGNED_ENDPOINTS: Final = frozenset({"provider_login.end_sessions"})
"""Routes for servers of others, which sign what they send: no page speaks to them."""
PREVIEW_PATH: Final = "/artifact"
MAX_STATIC_PATH_BYTES = 250
"""Of a file's address; systems fail to look for names that are longer."""


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def is_allowed_host(host: str, settings: Settings) -> bool:
    """An address (which no DNS answer can rebind), localhost, or a name from the settings."""
    if not re.fullmatch(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", host, re.ASCII | re.IGNORECASE):
        return False
    name = host_name(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {"localhost", settings.host.lower(), *settings.allowed_hosts}
    return True


def is_same_origin(headers: Headers, scheme: str) -> bool:
    """Return whether the request comes from a page of this very server."""
    return headers.getlist("Origin") == [f"{scheme}://{headers.get('Host', '')}"]


def install(app: Quart, settings: Settings) -> None:
    """Check every request and every upgrade, and give every response its headers."""

    @app.before_request
    async def check_request() -> None:
        if not is_allowed_host(request.headers.get("Host", ""), settings):
            _refuse("Host", request)
        if isinstance(request.routing_exception, NotFound) and is_by_program(request.headers):
            raise request.routing_exception
        is_change = request.method not in SAFE_METHODS and request.endpoint not in SIGNED_ENDPOINTS
        if is_change and not _is_same_origin():
            _refuse("Origin", request)
        if request.endpoint == "static" and len(request.path.encode()) > MAX_STATIC_PATH_BYTES:
            abort(404)

    @app.before_websocket
    async def check_upgrade() -> None:
        scheme = {"ws": "http", "wss": "https"}.get(websocket.scheme, websocket.scheme)
        if not is_allowed_host(websocket.headers.get("Host", ""), settings):
            _refuse("Host", websocket)
        if not is_same_origin(websocket.headers, scheme):
            _refuse("Origin", websocket)
        if server_context().is_closing:
            abort(503)

    @app.after_request
    async def add_headers(response: Response) -> Response:
        host = request.headers.get("Host", "")
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"font-src 'self'; media-src 'self'; connect-src 'self' ws://{host} wss://{host}; "
            "form-action 'self'; "
            f"frame-src {_preview_source(host, settings.base_path)}; "
            "base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'",
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        # Not `no-referrer`: browsers would then call the origin of our plain forms `null`.
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), microphone=(self), geolocation=()"
        if request.path.startswith("/static/") and "v" in request.args:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        else:
            response.headers["Cache-Control"] = "no-store"
        return response


def _preview_source(host: str, base: str) -> str:
    """Return the one page that may stand in a frame; policies know no IPv6 addresses."""
    return "'self'" if host.startswith("[") else f"{host}{base}{PREVIEW_PATH}"


def _is_same_origin() -> bool:
    """Return whether a page of this server sends this, or no page at all: a program.

    Browsers name the origin of whatever changes something, and say when another site asks. Forms,
    which old browsers sent without a word about that, are refused besides, unless a key comes with
    them.
    """
    headers = request.headers
    if is_same_origin(headers, request.scheme):
        return True
    if not is_api_path(request.path) or "Origin" in headers:
        return False
    if headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return False
    has_key = "Authorization" in headers or "X-Api-Key" in headers
    if not has_key and not is_json(request.mimetype) and not _is_curl(request.path):
        abort(415, NOT_JSON)
    return True


def _is_curl(path: str) -> bool:
    """Everybody's examples for Ollama are `curl -d`, which calls its JSON a form. A browser's form
    of that kind has no brackets and quotes left in it, so it is never JSON."""
    return is_ollama_path(path) and request.mimetype == FORM


def _refuse(header: str, asked: BaseRequestWebsocket) -> None:
    value = asked.headers.get(header, "")
    audit("refused", what=header, value=value, path=asked.path, address=asked.remote_addr)
    hint = ""
    if header == "Host":
        hint = " Open Wick by its address, or add this name to WICK_ALLOWED_HOSTS."
    if asked.scope.get(UNTRUSTED_PROXY):
        hint = (
            " The request says that it came through a proxy. If that is yours, name its address in"
            " WICK_TRUSTED_PROXIES, and the page's name in WICK_ALLOWED_HOSTS."
        )
    abort(403, f"This {header} is not allowed here.{hint}")
