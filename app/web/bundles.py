"""Our own scripts and our own styles, each as one file."""

from __future__ import annotations

from quart import Blueprint, Response

from app.web.assets import SCRIPTS, STYLES
from app.web.entrance import public
from app.web.state import server_context

blueprint = Blueprint("bundles", __name__, url_prefix="/static")


@blueprint.get(f"/{SCRIPTS}")
@public
async def scripts() -> Response:
    content = server_context().fragments.assets.content(SCRIPTS)
    return Response(content, content_type="text/javascript; charset=utf-8")


@blueprint.get(f"/{STYLES}")
@public
async def styles() -> Response:
    content = server_context().fragments.assets.content(STYLES)
    return Response(content, content_type="text/css; charset=utf-8")
