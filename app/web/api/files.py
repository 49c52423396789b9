"""`/api/v1/chats/ID/export.md` and `.json`: a chat as a file. docs/export.md has the format."""

from __future__ import annotations

from quart import Blueprint, Response

from app.web.chats import get_chat_or_404
from app.web.spooled import spooled
from app.web.state import server_context

export_blueprint = Blueprint("api_files", __name__, url_prefix="/api/v1/chats/<chat_id>")


@export_blueprint.get("/export.md")
async def markdown(chat_id: str) -> Response:
    """The path that the chat shows, to be read."""
    pieces = server_context().exports.markdown(await get_chat_or_404(chat_id))
    return await spooled(pieces, "text/markdown; charset=utf-8")


@export_blueprint.get("/export.json")
async def json(chat_id: str) -> Response:
    """The chat with its whole tree of messages, as an import takes it."""
    pieces = server_context().exports.json(await get_chat_or_404(chat_id))
    return await spooled(pieces, "application/json")
