"""Addresses of this site: the base path it is seen below, those of its APIs, and numbers in them.

Everything inside speaks of addresses as if the site began at `/`. Where a proxy shows Wick below a
path (`/wick/`), that base path comes off here from what is asked for, and goes onto what browsers
are sent: the addresses in templates, and the headers that lead somewhere. Only JSON that holds
addresses names it itself, by `public_path`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from jinja2 import Environment
from jinja2.ext import Extension
from quart import Quart, Response, current_app, request
from quart.routing import QuartRule
from werkzeug.datastructures import Headers
from werkzeug.routing import IntegerConverter, Map

from app.config import Settings
from app.errors import ConfigError

Application = Callable[[Any, Any, Any], Awaitable[None]]
ADDRESSES: Final = (
    r"href|src|action|formaction|data-source|data-address|data-view"
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
    """Return the same with scheme and host, as the page was asked for."""
    return f"{request.scheme}://{request.host}{public_path(path)}"


def inside(path: str) -> str:
    """Return a path that a browser names as it is called in here."""
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


class MatchedRule(QuartRule):
    """Rule of a route that only matches. Werkzeug compiles two functions for each that write its
    address, which took a tenth of Wick's start; here they are compiled when one is called."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:  # noqa: FBT001, FBT002
        builder = partial(super()._compile_builder, append_unknown)

        def build(rule: MatchedRule, **values: Any) -> tuple[str, str]:
            return builder()(rule, **values)

        return build


# APIs: where they are, and who asks.

OWN_API: Final = "/api/v1/"
OPENAI: Final = "/v1/"
OLLAMA: Final = "/api/"
LLAMA_SERVER: Final = frozenset({"/tokenize", "/detokenize", "/apply-template", "/props", "/slots"})
"""What llama-server has beside OpenAI's protocol."""
RESPONSES: Final = "/v1/responses"
ANTHROPIC: Final = "/v1/messages"
_ALIASES: Final = {
    "/chat/completions": "/v1/chat/completions",
    "/completions": "/v1/completions",
    "/embeddings": "/v1/embeddings",
    "/responses": "/v1/responses",
    "/rerank": "/v1/rerank",
    "/v2/rerank": "/v1/rerank",
    "/v1/health": "/health",
}
"""Where llama-server has the same, and where programs ask whose base URL lacks `/v1`."""
_MODELS: Final = "/models"
"""Browsers see a page here, and programs ask for the list."""


def is_api_path(path: str) -> bool:
    return path.startswith((OPENAI, OLLAMA)) or path in LLAMA_SERVER


def is_ollama_path(path: str) -> bool:
    return path.startswith(OLLAMA) and not path.startswith(OWN_API)


def is_anthropic_path(path: str) -> bool:
    return path == ANTHROPIC or path.startswith(f"{ANTHROPIC}/")


def is_stored_response_path(path: str) -> bool:
    """Return whether what a user's programs asked and were answered is read there."""
    return path.startswith(f"{RESPONSES}/")


def is_by_program(headers: Headers) -> bool:
    """Return whether no browser sent this: they say where it comes from, or navigate."""
    says_page = any(name in headers for name in ("Origin", "Sec-Fetch-Site", "HX-Request"))
    return not says_page and "text/html" not in headers.get("Accept", "")


class Aliases:
    """Wraps an ASGI application: programs find it at other addresses too."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            base = scope.get("root_path", "")
            path = scope["path"].removeprefix(base)
            if path in _ALIASES:
                scope = scope | {"path": base + _ALIASES[path]}
            elif path == _MODELS and scope["method"] == "GET" and _wants_json(scope["headers"]):
                scope = scope | {"path": f"{base}/v1/models"}
        await self._application(scope, receive, send)


def _wants_json(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tell whether a program says so, or shows a key; no page does either."""
    headers = {name.lower(): value for name, value in fields}
    if b"authorization" in headers or b"x-api-key" in headers:
        return True
    accept = headers.get(b"accept", b"")
    return b"application/json" in accept and b"text/html" not in accept


# Numbers: a row of the database, so none that the database could not hold.

MAX_ROW_ID: Final = (1 << 63) - 1


class RowId(IntegerConverter):
    """Converter `<int:…>` of routes: what is larger is an address that nothing has."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map, max=MAX_ROW_ID)


def row_id(text: str) -> int:
    """Parse the number in a query. Raises ValueError, so that `args.get` takes it for none."""
    number = int(text)
    if not -MAX_ROW_ID <= number <= MAX_ROW_ID:
        raise ValueError("no row has this number")
    return number
