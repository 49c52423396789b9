"""`/api/v1/files`: files that a program uploads and then gives to a message."""

from __future__ import annotations

import asyncio
import contextlib

from quart import Blueprint, Response, request

from app.api import http
from app.api.chats.schemas import FileChange, FileList, FileText, file_object
from app.errors import ModelError
from app.models.model import Model
from app.web.context import server_context
from app.web.pages import attachments
from app.web.security.identity import current_user

blueprint = Blueprint("api_attachments", __name__, url_prefix="/api/v1/files")


@blueprint.post("")
async def create() -> Response:
    """Upload a file as the raw body; `?name=` is what it is called. `?temporary=true`: for a
    temporary chat. `?model=`: whose tokenizer is to count its tokens."""
    given = request.args.get("temporary", "false")
    is_temporary = http.one_of(given, ("true", "false"), "temporary") == "true"
    if is_temporary:
        server_context().temporary.keep_files_for_program()
    file = await attachments.take_file(temporary=is_temporary)
    if name := request.args.get("model"):
        (file,) = await attachments.counted([file], await _model(name))
    return http.json_response(file_object(file), status=201)


@blueprint.get("")
async def list_all() -> Response:
    """List files that no message and no folder has, the oldest first; each is kept for 7 days."""
    context, user_id = server_context(), current_user()
    files = await context.attachments.unsent_all(user_id)
    return http.json_response(FileList([file_object(file) for file in files]))


async def _model(name: str) -> Model | None:
    with contextlib.suppress(ModelError):
        return await asyncio.to_thread(server_context().store.get, name)
    return None


@blueprint.get("/<int:file_id>")
async def get(file_id: int) -> Response:
    return http.json_response(
        file_object(await server_context().attachments_of(file_id).get(current_user(), file_id))
    )


@blueprint.get("/<int:file_id>/content")
async def content(file_id: int) -> Response:
    """Get its text, or the picture as Wick keeps it."""
    return await attachments.file_response(current_user(), file_id)


@blueprint.get("/<int:file_id>/thumbnail")
async def thumbnail(file_id: int) -> Response:
    return await attachments.thumbnail_response(current_user(), file_id)


@blueprint.patch("/<int:file_id>")
async def change(file_id: int) -> Response:
    """Describe a picture; before it is sent, also change or leave out the text in it."""
    body = await http.parse_body(FileChange)
    files, user_id = server_context().attachments_of(file_id), current_user()
    file = await files.get(user_id, file_id)
    if body.text is not None or body.gives_text is not None:
        text = await files.text(user_id, file_id) if body.text is None else body.text
        gives = file.gives_text if body.gives_text is None else body.gives_text
        file = await files.set_picture_text(user_id, file_id, text, gives=gives)
    if body.alt is not None:
        file = await files.describe(user_id, file_id, body.alt)
    return http.json_response(file_object(file))


@blueprint.post("/<int:file_id>/text")
async def recognize(file_id: int) -> Response:
    """Read the text in a picture (OCR), once; a document's or a text's is what it has."""
    file = await server_context().attachments_of(file_id).get(current_user(), file_id)
    text = await attachments.recognized_text(file)
    return http.json_response(FileText(text))


@blueprint.delete("/<int:file_id>")
async def delete(file_id: int) -> Response:
    """Delete a file that no message has."""
    await server_context().attachments_of(file_id).remove(current_user(), file_id)
    return Response(status=204)
