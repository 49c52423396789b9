"""`/v1/embeddings`: told plainly that there are none."""

from __future__ import annotations

from quart import Blueprint, Response

from app.errors import ApiError

blueprint = Blueprint("api_embeddings", __name__)


@blueprint.post("/v1/embeddings")
async def create() -> Response:
    raise ApiError(
        "Wick makes no embeddings: its models are made for chat, and what they would give here "
        "compares texts badly. Use a model made for embeddings, please.",
        status=501,
        code="unsupported",
    )
