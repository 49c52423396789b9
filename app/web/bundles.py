"""Our own scripts and our own styles, each as one file."""

from __future__ import annotations

from quart import Blueprint, Response

from app.web.assets import SCRIPTS, STYLES
from app.web.entrance import for_everybody
from app.web.state import state

blueprint = Blueprint("bundles", __name__, url_prefix="/static")


@blueprint.get(f"/{SCRIPTS}")
@for_everybody
async def scripts() -> Response:
    content = state().fragments.assets.content(SCRIPTS)
    return Response(content, content_type="text/javascript; charset=utf-8")


@blueprint.get(f"/{STYLES}")
@for_everybody
async def styles() -> Response:
    content = state().fragments.assets.content(STYLES)
    return Response(content, content_type="text/css; charset=utf-8")
