"""`/metrics`: figures for Prometheus, for owners and for programs on this machine."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

from quart import Blueprint, Quart, Response, g, request

from app.errors import NotAllowed, NotLoggedIn
from app.metrics.snapshot import ServerSnapshot
from app.net import is_loopback
from app.web.context import ServerContext, server_context
from app.web.security.auth import authenticate_key, public
from app.web.security.identity import identity_or_none
from app.web.security.proxies import UNTRUSTED_PROXY

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@public
async def metrics() -> Response:
    """Serve all figures in Prometheus' text format. Raises NotLoggedIn or NotAllowed."""
    caller = identity_or_none() or await authenticate_key(request)
    if not (caller is not None and caller.is_owner) and not _is_of_this_machine():
        if caller is not None:
            raise NotAllowed("Only owners can read these figures.")
        raise NotLoggedIn("Send an owner's API key: `Authorization: Bearer KEY`.")
    context = server_context()
    context.snapshot.figures = _figures(context)
    text = await asyncio.to_thread(context.meters.text)
    return Response(text, content_type=CONTENT_TYPE)


def _is_of_this_machine() -> bool:
    """Tell whether a program on this machine asks, and no proxy for somebody else."""
    host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    is_direct = not request.scope.get(UNTRUSTED_PROXY)
    return is_direct and is_loopback(request.remote_addr or "") and is_loopback(host)


def install(app: Quart) -> None:
    """Have every response counted."""

    @app.before_request
    async def start() -> None:
        g.began = time.monotonic()

    @app.after_request
    async def count(response: Response) -> Response:
        route = "" if request.url_rule is None else request.url_rule.rule
        seconds = time.monotonic() - g.get("began", time.monotonic())
        server_context().meters.count_response(request.method, route, response.status_code, seconds)
        return response


def _figures(context: ServerContext) -> ServerSnapshot:
    pulls = context.pulls.all()
    return ServerSnapshot(
        workers=context.pool.statuses(),
        tabs=context.hub.watching,
        answers=context.hub.running,
        running_pulls=sum(pull.is_running for pull in pulls),
        failed_pulls=sum(pull.error is not None for pull in pulls),
        memory_budget=context.pool.memory.budget,
    )
