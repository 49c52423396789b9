"""For programs that want to know whether Wick serves."""

from __future__ import annotations

from quart import Blueprint

import app
from app.web.entrance import public
from app.web.state import server_context

health_blueprint = Blueprint("health", __name__)


@health_blueprint.get("/healthz")
@health_blueprint.get("/health")
@public
async def healthz() -> tuple[dict[str, str], int]:
    if server_context().is_closing:
        return {"status": "closing", "version": app.__version__}, 503
    return {"status": "ok", "version": app.__version__}, 200
