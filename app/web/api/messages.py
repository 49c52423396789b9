"""`/api/v1/chats/ID/messages`: what was said in a chat, and what is being said."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response, request

from app.chats.branches import MessageRef
from app.errors import LimitReached
from app.web.api import answer_events, asking, bodies, failures, streaming
from app.web.api.shapes import MessageList, NewMessage, RegenerateRequest
from app.web.chats import get_chat_or_404
from app.web.identity import current_user
from app.web.state import server_context

blueprint = Blueprint("api_messages", __name__, url_prefix="/api/v1/chats/<chat_id>/messages")


@blueprint.get("")
async def list_messages(chat_id: str) -> Response:
    """The path that the chat shows, oldest first."""
    path = await server_context().chats.messages(await get_chat_or_404(chat_id))
    return bodies.json_response(MessageList([asking.message_schema(message) for message in path]))


@blueprint.post("")
async def create(chat_id: str) -> Response:
    """Returns at once; the answer is made meanwhile, and can be followed."""
    chat = await get_chat_or_404(chat_id)
    asked = await bodies.parse_body(NewMessage)
    model = asked.model or await asking.model_for(chat)
    return bodies.json_response(
        await asking.submit_prompt(chat.id, asked.text, model, asked.client_id), status=202
    )


@blueprint.get("/<int:message_id>")
async def get(chat_id: str, message_id: int) -> Response:
    message = await server_context().branches.get(await _message_ref(chat_id, message_id))
    return bodies.json_response(asking.message_schema(message))


@blueprint.post("/<int:message_id>/again")
async def regenerate(chat_id: str, message_id: int) -> Response:
    """Another answer beside this one, or to this prompt."""
    context, ref = server_context(), await _message_ref(chat_id, message_id)
    asked = await bodies.parse_body(RegenerateRequest)
    request = asked.client_id or secrets.token_hex(16)
    await context.branches.regenerate(ref, request, asked.model or "")
    path = await context.chats.messages(await get_chat_or_404(chat_id))
    return bodies.json_response(await asking.submitted(path[-2], path[-1]), status=202)


@blueprint.get("/<int:message_id>/events")
async def events(chat_id: str, message_id: int) -> Response:
    """The answer as it grows, as server-sent events."""
    ref = await _message_ref(chat_id, message_id)
    message = await server_context().branches.get(ref)
    last = request.headers.get("Last-Event-ID", "")
    if last == answer_events.end_id(message):
        return Response(status=204)  # it has all been told, and nobody need come back
    most = server_context().settings.sockets_per_user
    if server_context().hub.subscription_count(ref.user_id) >= most:
        raise LimitReached(
            f"{most} pages and programs of yours follow answers already, and that is the limit.",
            failures.RETRY_SECONDS,
        )
    return streaming.sse(answer_events.follow(server_context(), ref, last))


async def _message_ref(chat_id: str, message_id: int) -> MessageRef:
    chat = await get_chat_or_404(chat_id)
    return MessageRef(current_user(), chat.id, message_id)
