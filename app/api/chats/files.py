"""`/api/v1/files`: files that a program uploads and then gives to a message."""

from __future__ import annotations

from quart import Blueprint, Response, request

from app.api import http
from app.api.chats.schemas import file_object
from app.web.context import server_context
from app.web.pages import attachments
from app.web.security.identity import current_user

blueprint = Blueprint("api_attachments", __name__, url_prefix="/api/v1/files")


@blueprint.post("")
async def create() -> Response:
    """Upload a file as the raw body; `?name=` is what it is called. `?temporary=true`: for a
    temporary chat."""
    given = request.args.get("temporary", "false")
    is_temporary = http.one_of(given, ("true", "false"), "temporary") == "true"
    file = await attachments.take_file(temporary=is_temporary)
    return http.json_response(file_object(file), status=201)


@blueprint.get("/<int:file_id>")
async def get(file_id: int) -> Response:
    return http.json_response(
        file_object(await server_context().attachments_of(file_id).get(current_user(), file_id))
    )


@blueprint.get("/<int:file_id>/content")
async def content(file_id: int) -> Response:
    return await attachments.text_response(current_user(), file_id)


@blueprint.delete("/<int:file_id>")
async def delete(file_id: int) -> Response:
    """Delete a file that no message has."""
    await server_context().attachments_of(file_id).remove(current_user(), file_id)
    return Response(status=204)
