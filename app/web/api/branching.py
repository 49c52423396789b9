"""`/api/v1/chats/ID/messages/ID/edit` and `/continue`: a prompt in other words, an answer that goes
on."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response

from app.chats.branches import MessageRef
from app.errors import MessageNotFound
from app.web.api import asking, bodies
from app.web.api.shapes import NewMessage
from app.web.chats import get_chat_or_404
from app.web.identity import current_user
from app.web.state import server_context

branch_blueprint = Blueprint(
    "api_branching", __name__, url_prefix="/api/v1/chats/<chat_id>/messages/<int:message_id>"
)


@branch_blueprint.post("/edit")
async def edit(chat_id: str, message_id: int) -> Response:
    """The prompt asked again, on a branch of its own; what is being written is stopped."""
    asked = await bodies.parse_body(NewMessage)
    ref = await _message_ref_of(chat_id, message_id)
    request = asked.client_id or secrets.token_hex(16)
    await server_context().branches.edit(ref, asked.text, request, asked.model or "")
    return await _last_of_path(chat_id)


@branch_blueprint.post("/continue")
async def continue_answer(chat_id: str, message_id: int) -> Response:
    """An answer that was cut, from its last character."""
    await server_context().branches.continue_answer(await _message_ref_of(chat_id, message_id))
    return await _last_of_path(chat_id)


async def _message_ref_of(chat_id: str, message_id: int) -> MessageRef:
    return MessageRef(current_user(), (await get_chat_or_404(chat_id)).id, message_id)


async def _last_of_path(chat_id: str) -> Response:
    path = await server_context().chats.messages(await get_chat_or_404(chat_id))
    if len(path) < 2:
        raise MessageNotFound("The chat was changed elsewhere at the same moment.")
    return bodies.json_response(await asking.submitted(path[-2], path[-1]), status=202)
