"""The page of chats that were put away but are to stay."""

from __future__ import annotations

from quart import Blueprint, Response

from app.web.away import put_away
from app.web.sidebar import day_of

blueprint = Blueprint("archive", __name__, url_prefix="/archive")


@blueprint.get("")
async def page() -> Response:
    return await put_away("archived", "archive.html", "_archived.html", day_of=day_of)
