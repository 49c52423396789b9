"""The empty page in which a preview is shown: a document of no origin, without a network.

What a model wrote may run there, so nothing of Wick must be within its reach. The page has no
content of its own; the chat's page sends it what to show (`static/code.js`). Both the frame and
the headers here make a sandbox of it: even opened by itself it has no cookies and no storage.
"""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response

from app.web.context import server_context
from app.web.security.auth import public
from app.web.security.hosts import PREVIEW_PATH

_POLICY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline';"
    " style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data: blob:;"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)

blueprint = Blueprint("artifact", __name__)


@blueprint.get(PREVIEW_PATH)
@public
async def page() -> Response:
    response = Response(server_context().fragments.render("artifact.html"))
    response.content_type = "text/html; charset=utf-8"
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["X-DNS-Prefetch-Control"] = "off"
    response.headers["Connection-Allowlist"] = "()"  # nothing, where a browser knows it
    return response
