"""`/api/v1/chats/ID/messages`: submit, read, edit, regenerate and continue messages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from quart import Blueprint, Response, request

from app.api import http
from app.api.chats import events as chats_events
from app.api.chats.schemas import (
    CallDecision,
    EditedMessage,
    MessageList,
    MessageObject,
    NewMessage,
    RegenerateRequest,
    SubmittedAnswer,
    chat_object,
    message_object,
)
from app.conversations.answer_state import AnswerRef, MessageRef
from app.conversations.submission import Prompt
from app.db.chats import Chat
from app.db.messages import Message
from app.errors import LimitReached, MessageNotFound
from app.web import errors
from app.web.addresses import public_path
from app.web.context import server_context, services_of
from app.web.pages.chat import get_chat_or_404
from app.web.render.chat import picker_options
from app.web.security.identity import current_user

# Submitting a prompt, and reading what has been saved of it.


async def submit_prompt(
    chat_id: str,
    text: str,
    model: str,
    client_id: str | None,
    files: Sequence[int] = (),
    persona: int | None = None,
    folder: int | None = None,
) -> SubmittedAnswer:
    """Save the prompt and queue its answer. Raises what `AnswerService.submit` does."""
    client_id = client_id or secrets.token_hex(16)
    prompt = Prompt(current_user(), chat_id, text, client_id, model, tuple(files), persona, folder)
    ref = await services_of(chat_id).answers.submit(prompt)
    return await submitted(ref)


async def submitted(ref: AnswerRef) -> SubmittedAnswer:
    """The answer as it is now, with its prompt and its chat. Raises MessageNotFound."""
    context, user_id = server_context(), current_user()
    chat = await get_chat_or_404(ref.chat_id)
    prompt = None if ref.prompt_id is None else await _message(chat.id, ref.prompt_id)
    return SubmittedAnswer(
        chat=chat_object(chat, context.hub.running_chats(user_id)),
        prompt=None if prompt is None else message_schema(prompt),
        answer=message_schema(await _message(chat.id, ref.answer_id)),
        events=public_path(f"/api/v1/chats/{chat.id}/messages/{ref.answer_id}/events"),
    )


async def _message(chat_id: str, message_id: int) -> Message:
    try:
        return (
            await server_context()
            .of(chat_id)
            .branches.get(MessageRef(current_user(), chat_id, message_id))
        )
    except MessageNotFound:
        raise MessageNotFound(
            "This message was sent before, and is not in the chat any more."
        ) from None


async def model_for(chat: Chat | None) -> str:
    """The model that the page would choose; empty when there is none at all."""
    return (await picker_options(server_context(), chat))[1]


def message_schema(message: Message) -> MessageObject:
    return message_object(message, server_context().hub.stream(message.id))


# `/api/v1/chats/ID/messages/ID/edit` and `/continue`.


branch_blueprint = Blueprint(
    "api_branching", __name__, url_prefix="/api/v1/chats/<chat_id>/messages/<int:message_id>"
)


@branch_blueprint.post("/edit")
async def edit(chat_id: str, message_id: int) -> Response:
    """Submit another version of a prompt, on a branch of its own; a running answer is stopped."""
    body = await http.parse_body(EditedMessage)
    ref = await _message_ref(chat_id, message_id)
    client_id = body.client_id or secrets.token_hex(16)
    branches = services_of(chat_id).branches
    answer = await branches.edit(ref, body.text, client_id, body.model or "", body.attachments)
    return http.json_response(await submitted(answer), status=202)


@branch_blueprint.post("/continue")
async def continue_answer(chat_id: str, message_id: int) -> Response:
    """Continue an answer that was cut, from its last character."""
    ref = await _message_ref(chat_id, message_id)
    answer = await services_of(chat_id).branches.continue_answer(ref)
    return http.json_response(await submitted(answer), status=202)


@branch_blueprint.post("/branch")
async def branch_off(chat_id: str, message_id: int) -> Response:
    """Begin a new chat like this one, up to this message."""
    services = services_of(chat_id)
    copy = await services.copies.branch_off(await _message_ref(chat_id, message_id))
    chat = await get_chat_or_404(copy)
    running = server_context().hub.running_chats(current_user())
    return http.json_response(chat_object(chat, running), status=201)


@branch_blueprint.post("/calls/<int:number>")
async def decide(chat_id: str, message_id: int, number: int) -> Response:
    """Allow or deny a call of a tool that waits for that."""
    body = await http.parse_body(CallDecision)
    ref = await _message_ref(chat_id, message_id)
    services = services_of(chat_id)
    await services.answers.tools.decide(ref.user_id, message_id, number, body.decision)
    return http.json_response(message_schema(await services.branches.get(ref)))


# `/api/v1/chats/ID/messages`: the messages of a chat, and its running answer.


blueprint = Blueprint("api_messages", __name__, url_prefix="/api/v1/chats/<chat_id>/messages")


@blueprint.get("")
async def list_messages(chat_id: str) -> Response:
    """The path that the chat shows, oldest first."""
    path = await services_of(chat_id).chats.messages(await get_chat_or_404(chat_id))
    return http.json_response(MessageList([message_schema(message) for message in path]))


@blueprint.post("")
async def create(chat_id: str) -> Response:
    """Submit a prompt. Its answer is generated in the background, and can be followed."""
    chat = await get_chat_or_404(chat_id)
    body = await http.parse_body(NewMessage)
    model = body.model or await model_for(chat)
    return http.json_response(
        await submit_prompt(chat.id, body.text, model, body.client_id, body.attachments), status=202
    )


@blueprint.get("/<int:message_id>")
async def get(chat_id: str, message_id: int) -> Response:
    message = await services_of(chat_id).branches.get(await _message_ref(chat_id, message_id))
    return http.json_response(message_schema(message))


@blueprint.post("/<int:message_id>/again")
async def regenerate(chat_id: str, message_id: int) -> Response:
    """Generate another answer beside this one, or to this prompt."""
    ref = await _message_ref(chat_id, message_id)
    body = await http.parse_body(RegenerateRequest)
    client_id = body.client_id or secrets.token_hex(16)
    answer = await services_of(chat_id).branches.regenerate(
        ref, client_id, body.model or "", length=body.length
    )
    return http.json_response(await submitted(answer), status=202)


@blueprint.get("/<int:message_id>/events")
async def events(chat_id: str, message_id: int) -> Response:
    """Follow an answer by server-sent events."""
    ref = await _message_ref(chat_id, message_id)
    message = await services_of(chat_id).branches.get(ref)
    last_id = request.headers.get("Last-Event-ID", "")
    if last_id == chats_events.end_id(message):
        return Response(status=204)  # all has been sent: the client need not reconnect
    most = server_context().settings.sockets_per_user
    if server_context().hub.subscription_count(ref.user_id) >= most:
        raise LimitReached(
            f"Too many open streams: at most {most} of yours can follow answers at a time.",
            errors.RETRY_SECONDS,
        )
    return http.sse(chats_events.follow(server_context(), ref, last_id))


async def _message_ref(chat_id: str, message_id: int) -> MessageRef:
    chat = await get_chat_or_404(chat_id)
    return MessageRef(current_user(), chat.id, message_id)
