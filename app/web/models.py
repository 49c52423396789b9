"""Getting a model from the page."""

from __future__ import annotations

from quart import Blueprint, Response

from app.models.catalogue import find
from app.web.state import state

blueprint = Blueprint("models", __name__, url_prefix="/models")


@blueprint.post("/<name>/pull")
async def pull(name: str) -> Response:
    """Begin to bring a model of the catalogue; how far it is comes over the sockets."""
    state().pulls.start(find(name).name)
    return Response(status=204)
