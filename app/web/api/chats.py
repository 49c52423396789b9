"""`/api/v1/chats`: a person's chats, the same ones as on the page."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final, cast

from msgspec import UNSET
from quart import Blueprint, Response, request

from app.errors import ApiError
from app.store.chats import Chat
from app.store.lists import Cursor, ListName
from app.web.api import asking, bodies
from app.web.api.shapes import (
    ChatChange,
    ChatList,
    ChatObject,
    NewChat,
    chat_object,
    settings_object,
)
from app.web.chats import existing
from app.web.identity import current_user
from app.web.state import state

blueprint = Blueprint("api_chats", __name__, url_prefix="/api/v1/chats")
LISTS: Final = ("listed", "pinned", "archived", "trashed")


@blueprint.get("")
async def every() -> Response:
    """`?list=`: one of LISTS; `?after=`: where the page before ended."""
    here, user_id = state(), current_user()
    name = bodies.one_of(request.args.get("list", "listed"), LISTS, "list")
    after = request.args.get("after", "")
    cursor = Cursor.parse(after)
    if after and cursor is None:
        raise ApiError("This is not where a page of the list ended.", param="after")
    chats, more = await here.chats.page(user_id, cast("ListName", name), cursor)
    running = here.hub.running_chats(user_id)
    data = [chat_object(chat, running) for chat in chats]
    return bodies.answer(ChatList(data, str(more) if more else None))


@blueprint.post("")
async def create() -> Response:
    here, user_id = state(), current_user()
    asked = await bodies.read(NewChat)
    chat_id = _chat_id(user_id, asked.client_id)
    before = await here.chats.find(user_id, chat_id)
    model = asked.model or await asking.model_for(before)
    here.asking.settings_for(model)  # nothing is kept for a model that is not there
    if asked.settings is not None and before is None:
        await here.chats.choose_settings(user_id, chat_id, asked.settings.chosen())
    made = await asking.ask(chat_id, asked.text, model, asked.client_id)
    if asked.title is not None and before is None:
        await here.chats.rename(user_id, chat_id, asked.title)
        made.chat = await look(await existing(chat_id))
    return bodies.answer(made, status=201)


def _chat_id(user_id: int, client_id: str | None) -> str:
    """The same for the same wish, so that it makes one chat however often it is sent."""
    if client_id is None:
        return secrets.token_hex(8)
    return hashlib.sha256(f"{user_id} {client_id}".encode()).hexdigest()[:16]


@blueprint.get("/<chat_id>")
async def one(chat_id: str) -> Response:
    return bodies.answer(await look(await existing(chat_id)))


@blueprint.patch("/<chat_id>")
async def change(chat_id: str) -> Response:
    here, user_id = state(), current_user()
    chat = await existing(chat_id)
    wanted = await bodies.read(ChatChange)
    if wanted.title is not UNSET:
        await here.chats.rename(user_id, chat.id, wanted.title)
    if wanted.model is not UNSET:
        here.asking.settings_for(wanted.model)
        await here.chats.choose_model(user_id, chat.id, wanted.model)
    if wanted.settings is not UNSET:
        await here.chats.choose_settings(user_id, chat.id, wanted.settings.chosen())
    if wanted.pinned is not UNSET:
        await here.chats.put(user_id, chat.id, "pinned_at", time.time() if wanted.pinned else None)
    if wanted.archived is not UNSET:
        when = time.time() if wanted.archived else None
        await here.chats.put(user_id, chat.id, "archived_at", when)
    if wanted.deleted is not UNSET:
        verb = here.chats.delete if wanted.deleted else here.chats.restore
        await verb(user_id, chat.id)
    return bodies.answer(await look(await existing(chat_id)))


@blueprint.delete("/<chat_id>")
async def delete(chat_id: str) -> Response:
    """Into the trash, from where a change brings it back for a month. `?forever=true`: for good."""
    is_forever = bodies.one_of(request.args.get("forever", "false"), ("true", "false"), "forever")
    await existing(chat_id)
    await state().chats.delete(current_user(), chat_id)
    if is_forever == "true":
        await state().trash.remove(current_user(), chat_id)
    return Response(status=204)


@blueprint.post("/<chat_id>/stop")
async def stop(chat_id: str) -> Response:
    """End the answer that is being written; its text so far stays."""
    await existing(chat_id)
    await state().asking.stop(current_user(), chat_id)
    return Response(status=204)


async def look(chat: Chat) -> ChatObject:
    """The chat with its settings."""
    here = state()
    found = chat_object(chat, here.hub.running_chats(chat.user_id))
    found.settings = settings_object(await here.chats.settings(chat.user_id, chat.id))
    return found
