"""Addresses of APIs, and the protocol in which each is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from werkzeug.datastructures import Headers

OWN: Final = "/api/v1/"
OPENAI: Final = "/v1/"
OLLAMA: Final = "/api/"
ALIASES: Final = {
    "/chat/completions": "/v1/chat/completions",
    "/completions": "/v1/completions",
    "/embeddings": "/v1/embeddings",
    "/v1/health": "/health",
}
"""Where llama-server has the same, and where programs ask whose base URL lacks `/v1`."""
MODELS: Final = "/models"
"""Here people see a page, and programs ask for the list."""


def is_api_path(path: str) -> bool:
    return path.startswith((OPENAI, OLLAMA))


def is_ollama_path(path: str) -> bool:
    return path.startswith(OLLAMA) and not path.startswith(OWN)


def is_by_program(headers: Headers) -> bool:
    """Return whether no browser sent this: they say where it comes from, or navigate."""
    says_page = any(name in headers for name in ("Origin", "Sec-Fetch-Site", "HX-Request"))
    return not says_page and "text/html" not in headers.get("Accept", "")


class Aliases:
    """Wraps an ASGI application: programs find it at other addresses too."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            base = scope.get("root_path", "")
            path = scope["path"].removeprefix(base)
            if path in ALIASES:
                scope = scope | {"path": base + ALIASES[path]}
            elif path == MODELS and scope["method"] == "GET" and _wants_json(scope["headers"]):
                scope = scope | {"path": f"{base}/v1/models"}
        await self._application(scope, receive, send)


def _wants_json(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """A program that says so, or that shows a key; no page does either."""
    headers = {name.lower(): value for name, value in fields}
    if b"authorization" in headers or b"x-api-key" in headers:
        return True
    accept = headers.get(b"accept", b"")
    return b"application/json" in accept and b"text/html" not in accept
