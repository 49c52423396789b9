"""The page of chats that were put away but are to stay."""

from __future__ import annotations

from quart import Blueprint, Response

from app.web.away import render_chat_list
from app.web.sidebar import day_of

archive_blueprint = Blueprint("archive", __name__, url_prefix="/archive")


@archive_blueprint.get("")
async def archive_page() -> Response:
    return await render_chat_list("archived", "archive.html", "_archived.html", day_of=day_of)
