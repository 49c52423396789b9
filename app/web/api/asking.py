"""Asking in a chat over the API, and finding what has been saved of it."""

from __future__ import annotations

import secrets

from app.chats.prompts import Prompt
from app.errors import MessageNotFound
from app.store.chats import Chat
from app.store.messages import Message
from app.web.api.shapes import MessageObject, SubmittedAnswer, chat_object, message_object
from app.web.base_path import public_path
from app.web.chat_view import picker_options
from app.web.chats import get_chat_or_404
from app.web.identity import current_user
from app.web.state import server_context


async def submit_prompt(
    chat_id: str, text: str, model: str, client_id: str | None
) -> SubmittedAnswer:
    """Save the prompt and queue its answer. Raises what `AnswerService.submit` does."""
    context, user_id = server_context(), current_user()
    client_id = client_id or secrets.token_hex(16)
    await context.answers.submit(Prompt(user_id, chat_id, text, client_id, model))
    path = await context.chats.messages(await get_chat_or_404(chat_id))
    place = next((n for n, message in enumerate(path) if message.client_id == client_id), None)
    if place is None or place + 1 >= len(path):
        raise MessageNotFound("This message was sent before, and is not in the chat any more.")
    return await submitted(path[place], path[place + 1])


async def submitted(prompt: Message, answer: Message) -> SubmittedAnswer:
    context, user_id = server_context(), current_user()
    chat = await get_chat_or_404(answer.chat_id)
    return SubmittedAnswer(
        chat=chat_object(chat, context.hub.running_chats(user_id)),
        prompt=message_schema(prompt),
        answer=message_schema(answer),
        events=public_path(f"/api/v1/chats/{chat.id}/messages/{answer.id}/events"),
    )


async def model_for(chat: Chat | None) -> str:
    """The model that the page would choose; empty when there is none at all."""
    return (await picker_options(server_context(), chat))[1]


def message_schema(message: Message) -> MessageObject:
    return message_object(message, server_context().hub.stream(message.id))
