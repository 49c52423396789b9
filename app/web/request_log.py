"""Ids of requests, and a line of the log for each: its route, status and time, never its address.

An id comes with every response as `X-Request-Id`, and with every line that is logged meanwhile. A
trusted proxy may send its own.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from quart import Quart, Response, request, websocket

from app.logs.lines import FACTS
from app.logs.request_ids import RequestRef, current_request, new_request_id, work_on
from app.logs.writer import REQUESTS
from app.metrics.meters import METHODS, OTHER
from app.net import Network, in_networks
from app.web.security.identity import identity_or_none

log = logging.getLogger(REQUESTS)
Application = Callable[[Any, Any, Any], Awaitable[None]]
HEADER: Final = b"x-request-id"
WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._~+/=:-]{7,127}")
STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)
_BEGAN: Final = "wick.began"
_QUIET: Final = ("/static/", "/healthz", "/health", "/metrics")
"""Beginnings of routes that are asked for all the time: only `WICK_LOG_LEVEL=debug` logs them."""


class RequestIds:
    """Wraps an ASGI application that sees real peers."""

    def __init__(self, application: Application, trusted: Sequence[Network]) -> None:
        self._application = application
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        request_id = self._given_id(scope) or new_request_id()

        async def send_with_id(message: Any) -> None:
            if message["type"] in STARTS:
                headers = [*message.get("headers", ()), (HEADER, request_id.encode())]
                message = message | {"headers": headers}
            await send(message)

        with work_on(RequestRef(request_id)):
            scope = scope | {_BEGAN: time.monotonic()}
            await self._application(scope, receive, send_with_id)

    def _given_id(self, scope: Any) -> str:
        """Return the id that a trusted proxy has sent, if it is one and well formed."""
        given = [value for name, value in scope["headers"] if name.lower() == HEADER]
        peer = str(scope["client"][0]) if scope.get("client") else ""
        if len(given) != 1 or not in_networks(peer, self._trusted):
            return ""
        return given[0].decode() if WELL_FORMED.fullmatch(given[0]) else ""


def install(app: Quart) -> None:
    """Have every response logged."""

    @app.after_request
    async def log_response(response: Response) -> Response:
        scope: Any = request.scope
        route = OTHER if request.url_rule is None else request.url_rule.rule
        method = request.method if request.method in METHODS else OTHER
        level = logging.DEBUG if route.startswith(_QUIET) else logging.INFO
        _log(level, f"{method} {route}", response.status_code, scope.get(_BEGAN))
        return response


@contextmanager
def socket_message() -> Iterator[None]:
    """Give a message on a socket an id of its own, and log it."""
    connection, began = current_request().id, time.monotonic()
    with work_on(RequestRef(new_request_id())):
        yield
        route = OTHER if websocket.url_rule is None else websocket.url_rule.rule
        _log(logging.INFO, f"message on {route}", None, began, connection=connection)


def _log(
    level: int, what: str, status: int | None, began: float | None, **facts: str | float
) -> None:
    if not log.isEnabledFor(level):
        return
    seconds = 0.0 if began is None else time.monotonic() - began
    who = identity_or_none()
    facts |= {"what": what, "seconds": round(seconds, 4)}
    facts |= {} if status is None else {"status": status}
    facts |= {} if who is None else {"user": who.user_id}
    outcome = "" if status is None else f": {status}"
    log.log(level, "%s%s after %.0f ms", what, outcome, seconds * 1000, extra={FACTS: facts})
