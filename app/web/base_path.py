"""The path under which the site is seen, for a Wick that a proxy shows below one (`/wick/`).

Everything inside speaks of addresses as if the site began at `/`. Here is where the base path comes
off what is asked for, and onto what browsers are sent: the addresses in templates, and the headers
that lead somewhere. Only JSON that holds addresses names it itself, by `public_path`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from jinja2 import Environment
from jinja2.ext import Extension
from quart import Quart, Response, current_app, request

from app.config import Settings
from app.errors import ConfigError

Application = Callable[[Any, Any, Any], Awaitable[None]]
ADDRESSES: Final = (
    r"href|src|action|formaction|data-source|data-address"
    r"|hx-(?:get|post|put|patch|delete|push-url|replace-url|ws:connect|\{\{ verb \}\})"
)
"""Attributes of our templates that hold one."""
_FIXED: Final = re.compile(rf'\b({ADDRESSES})="/(?!/)')
_MADE: Final = re.compile(rf'\b({ADDRESSES})="\{{\{{ *(.+?) *\}}\}}')
_LEADING: Final = ("Location", "HX-Redirect", "HX-Location", "HX-Push-Url", "HX-Replace-Url")


class BasePath:
    """Wraps an ASGI application: it sees the base path as its `root_path`.

    Proxies that hand the base path on and those that take it off are told apart by what comes; so
    commands on this machine reach it without, too.
    """

    def __init__(self, application: Application, base: str) -> None:
        self._application = application
        self._base = base

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._base and scope["type"] in {"http", "websocket"}:
            path = scope["path"]
            if path == self._base and scope["type"] == "http":
                await _lead_inside(self._base, scope["query_string"], send)
                return
            if not path.startswith(f"{self._base}/"):
                path = self._base + path
            scope = scope | {"root_path": self._base, "path": path}
        await self._application(scope, receive, send)


async def _lead_inside(base: str, query: bytes, send: Any) -> None:
    address = f"{base}/".encode() + (b"?" + query if query else b"")
    headers = [(b"location", address), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def lead_below(app: Quart, settings: Settings) -> None:
    """Have what `app` sends browsers to be below the base path. After its routes are registered.

    Raises ConfigError for a base path that begins like an address of Wick's own: whether a proxy
    takes it off could not be told.
    """
    base = settings.base_path
    if base.split("/")[1:2] and base.split("/")[1] in _beginnings(app):
        raise ConfigError(
            f"WICK_BASE_PATH={base} is taken: Wick's own addresses begin like that. Choose another."
        )

    @app.after_request
    async def add_base(response: Response) -> Response:
        for name in _LEADING:
            address = response.headers.get(name, "")
            if address.startswith("/") and not address.startswith("//"):
                response.headers[name] = base + address
        return response


def _beginnings(app: Quart) -> set[str]:
    return {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}


def public_path(path: str) -> str:
    """Return how a browser or a program asks for `path` of this site."""
    settings: Settings = current_app.extensions["wick"].settings
    return settings.base_path + path


def public_url(path: str) -> str:
    """The same with scheme and host, as the page was asked for."""
    return f"{request.scheme}://{request.host}{public_path(path)}"


def inside(path: str) -> str:
    """The same the other way round: a path that a browser names, as it is called in here."""
    return path.removeprefix(request.root_path) or "/"


class Addresses(Extension):
    """Puts the global `base` before each address of a template, as it is read."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals.setdefault("base", "")
        environment.filters["below_base"] = self._below_base

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        source = _MADE.sub(r'\1="{{ (\2)|below_base }}', source)
        return _FIXED.sub(r'\1="{{ base }}/', source)

    def _below_base(self, address: str) -> str:
        if not address.startswith("/") or address.startswith("//"):
            return address
        return str(self.environment.globals["base"]) + address
