"""`/api/v1/chats/ID/messages/ID/edit` and `/continue`: a prompt in other words, an answer that goes
on."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response

from app.chats.branches import Spot
from app.errors import MessageNotFound
from app.web.api import asking, bodies
from app.web.api.shapes import NewMessage
from app.web.chats import existing
from app.web.identity import current_user
from app.web.state import state

blueprint = Blueprint(
    "api_branching", __name__, url_prefix="/api/v1/chats/<chat_id>/messages/<int:message_id>"
)


@blueprint.post("/edit")
async def edit(chat_id: str, message_id: int) -> Response:
    """The prompt asked again, on a branch of its own; what is being written is stopped."""
    asked = await bodies.read(NewMessage)
    spot = await _spot(chat_id, message_id)
    wish = asked.client_id or secrets.token_hex(16)
    await state().branches.edit(spot, asked.text, wish, asked.model or "")
    return await _newest(chat_id)


@blueprint.post("/continue")
async def go_on(chat_id: str, message_id: int) -> Response:
    """An answer that was cut, from its last character."""
    await state().branches.go_on(await _spot(chat_id, message_id))
    return await _newest(chat_id)


async def _spot(chat_id: str, message_id: int) -> Spot:
    return Spot(current_user(), (await existing(chat_id)).id, message_id)


async def _newest(chat_id: str) -> Response:
    path = await state().chats.messages(await existing(chat_id))
    if len(path) < 2:
        raise MessageNotFound("The chat was changed elsewhere at the same moment.")
    return bodies.answer(await asking.asked(path[-2], path[-1]), status=202)
