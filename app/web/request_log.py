"""Ids of requests, and a line of the log for each: its route, status and time, never its address.

An id comes with every response as `X-Request-Id`, and with every line that is logged meanwhile. A
trusted proxy may send its own.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from quart import Quart, Response, current_app, request, websocket

from app.logs.lines import FACTS
from app.logs.request_ids import RequestRef, current_request, new_request_id, work_on
from app.logs.writer import REQUESTS
from app.metrics.meters import METHODS, OTHER
from app.metrics.traces import SpanOutcome, Tracing
from app.net import Network, in_networks
from app.web.security.identity import identity_or_none

log = logging.getLogger(REQUESTS)
Application = Callable[[Any, Any, Any], Awaitable[None]]
HEADER: Final = b"x-request-id"
WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._~+/=:-]{7,127}")
STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)
TRACE_PARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
TRACING: Final = "wick.tracing"
"""Of an application's extensions: its Tracing, or None."""
_BEGAN: Final = "wick.began"
_OUTCOME: Final = "wick.outcome"
"""Of a request's scope: the SpanOutcome that its response fills in."""
_QUIET: Final = ("/static/", "/healthz", "/health", "/metrics")
"""Beginnings of routes that are asked for all the time: only `WICK_LOG_LEVEL=debug` logs them."""


class RequestIds:
    """Wraps an ASGI application that sees real peers."""

    def __init__(
        self,
        application: Application,
        trusted: Sequence[Network],
        tracing: Tracing | None = None,
    ) -> None:
        self._application = application
        self._trusted = tuple(trusted)
        self._tracing = tracing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        request_id = self._given(scope, HEADER, WELL_FORMED) or new_request_id()

        async def send_with_id(message: Any) -> None:
            if message["type"] in STARTS:
                headers = [*message.get("headers", ()), (HEADER, request_id.encode())]
                message = message | {"headers": headers}
            await send(message)

        with work_on(RequestRef(request_id)):
            parent = self._given(scope, b"traceparent", TRACE_PARENT)
            # Of a socket, each message has a span.
            with _span(self._tracing if scope["type"] == "http" else None, parent) as outcome:
                scope = scope | {_BEGAN: time.monotonic(), _OUTCOME: outcome}
                await self._application(scope, receive, send_with_id)

    def _given(self, scope: Any, header: bytes, form: re.Pattern[bytes]) -> str:
        """Return what a trusted proxy has sent in a header, if it is one and well formed."""
        given = [value for name, value in scope["headers"] if name.lower() == header]
        peer = str(scope["client"][0]) if scope.get("client") else ""
        if len(given) != 1 or not in_networks(peer, self._trusted):
            return ""
        return given[0].decode() if form.fullmatch(given[0]) else ""


def _span(tracing: Tracing | None, parent: str = "") -> AbstractContextManager[SpanOutcome]:
    return nullcontext(SpanOutcome()) if tracing is None else tracing.span("request", parent)


def install(app: Quart) -> None:
    """Have every response logged."""
    app.extensions.setdefault(TRACING, None)

    @app.after_request
    async def log_response(response: Response) -> Response:
        scope: Any = request.scope
        route = OTHER if request.url_rule is None else request.url_rule.rule
        method = request.method if request.method in METHODS else OTHER
        is_quiet = route.startswith(_QUIET)
        level = logging.DEBUG if is_quiet else logging.INFO
        outcome: SpanOutcome = scope.get(_OUTCOME, SpanOutcome())
        outcome.name, outcome.status = f"{method} {route}", response.status_code
        outcome.is_dropped = is_quiet
        _log(level, f"{method} {route}", response.status_code, scope.get(_BEGAN))
        return response


@contextmanager
def socket_message() -> Iterator[None]:
    """Give a message on a socket an id of its own, and log it."""
    connection, began = current_request().id, time.monotonic()
    tracing: Tracing | None = current_app.extensions[TRACING]
    with work_on(RequestRef(new_request_id())), _span(tracing) as outcome:
        yield
        route = OTHER if websocket.url_rule is None else websocket.url_rule.rule
        outcome.name = f"MESSAGE {route}"
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
