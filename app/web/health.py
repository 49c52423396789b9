"""For programs that want to know whether Wick serves."""

from __future__ import annotations

from quart import Blueprint

import app
from app.web.entrance import for_everybody
from app.web.state import state

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@blueprint.get("/health")
@for_everybody
async def healthz() -> tuple[dict[str, str], int]:
    if state().is_closing:
        return {"status": "closing", "version": app.__version__}, 503
    return {"status": "ok", "version": app.__version__}, 200
