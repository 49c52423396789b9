"""Asking in a chat over the API, and finding what has been saved of it."""

from __future__ import annotations

import secrets

from app.chats.prompts import Prompt
from app.errors import MessageNotFound
from app.store.chats import Chat
from app.store.messages import Message
from app.web.api.shapes import Asked, MessageObject, chat_object, message_object
from app.web.base_path import public_path
from app.web.chat_view import picker_options
from app.web.chats import existing
from app.web.identity import current_user
from app.web.state import state


async def ask(chat_id: str, text: str, model: str, client_id: str | None) -> Asked:
    """Save the prompt and queue its answer. Raises what `Asking.submit` does."""
    here, user_id = state(), current_user()
    client_id = client_id or secrets.token_hex(16)
    await here.asking.submit(Prompt(user_id, chat_id, text, client_id, model))
    path = await here.chats.messages(await existing(chat_id))
    place = next((n for n, message in enumerate(path) if message.client_id == client_id), None)
    if place is None or place + 1 >= len(path):
        raise MessageNotFound("This message was sent before, and is not in the chat any more.")
    return await asked(path[place], path[place + 1])


async def asked(prompt: Message, answer: Message) -> Asked:
    here, user_id = state(), current_user()
    chat = await existing(answer.chat_id)
    return Asked(
        chat=chat_object(chat, here.hub.running_chats(user_id)),
        prompt=shown(prompt),
        answer=shown(answer),
        events=public_path(f"/api/v1/chats/{chat.id}/messages/{answer.id}/events"),
    )


async def model_for(chat: Chat | None) -> str:
    """The model that the page would choose; empty when there is none at all."""
    return (await picker_options(state(), chat))[1]


def shown(message: Message) -> MessageObject:
    return message_object(message, state().hub.stream(message.id))
