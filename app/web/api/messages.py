"""`/api/v1/chats/ID/messages`: what was said in a chat, and what is being said."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response, request

from app.chats.branches import Spot
from app.errors import LimitReached
from app.web.api import answer_events, asking, bodies, failures, streaming
from app.web.api.shapes import Again, MessageList, NewMessage
from app.web.chats import existing
from app.web.identity import current_user
from app.web.state import state

blueprint = Blueprint("api_messages", __name__, url_prefix="/api/v1/chats/<chat_id>/messages")


@blueprint.get("")
async def every(chat_id: str) -> Response:
    """The path that the chat shows, oldest first."""
    path = await state().chats.messages(await existing(chat_id))
    return bodies.answer(MessageList([asking.shown(message) for message in path]))


@blueprint.post("")
async def create(chat_id: str) -> Response:
    """Returns at once; the answer is made meanwhile, and can be followed."""
    chat = await existing(chat_id)
    asked = await bodies.read(NewMessage)
    model = asked.model or await asking.model_for(chat)
    return bodies.answer(await asking.ask(chat.id, asked.text, model, asked.client_id), status=202)


@blueprint.get("/<int:message_id>")
async def one(chat_id: str, message_id: int) -> Response:
    message = await state().branches.find(await _spot(chat_id, message_id))
    return bodies.answer(asking.shown(message))


@blueprint.post("/<int:message_id>/again")
async def again(chat_id: str, message_id: int) -> Response:
    """Another answer beside this one, or to this prompt."""
    here, spot = state(), await _spot(chat_id, message_id)
    asked = await bodies.read(Again)
    wish = asked.client_id or secrets.token_hex(16)
    await here.branches.regenerate(spot, wish, asked.model or "")
    path = await here.chats.messages(await existing(chat_id))
    return bodies.answer(await asking.asked(path[-2], path[-1]), status=202)


@blueprint.get("/<int:message_id>/events")
async def events(chat_id: str, message_id: int) -> Response:
    """The answer as it grows, as server-sent events."""
    spot = await _spot(chat_id, message_id)
    message = await state().branches.find(spot)
    last = request.headers.get("Last-Event-ID", "")
    if last == answer_events.end_id(message):
        return Response(status=204)  # it has all been told, and nobody need come back
    most = state().settings.sockets_per_user
    if state().hub.tabs(spot.user_id) >= most:
        raise LimitReached(
            f"{most} pages and programs of yours follow answers already, and that is the limit.",
            failures.RETRY_SECONDS,
        )
    return streaming.sse(answer_events.follow(state(), spot, last))


async def _spot(chat_id: str, message_id: int) -> Spot:
    chat = await existing(chat_id)
    return Spot(current_user(), chat.id, message_id)
