"""`/api/v1/chats`: a user's chats, the same as on the page, and their export."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final, cast

from msgspec import UNSET
from quart import Blueprint, Response, request

from app.api import http
from app.api.chats import messages
from app.api.chats.schemas import (
    ChatChange,
    ChatList,
    ChatObject,
    NewChat,
    chat_object,
    settings_object,
)
from app.db.chats import Chat, Cursor, ListName
from app.errors import ApiError
from app.web.bodies import spooled
from app.web.context import server_context
from app.web.pages.chat import get_chat_or_404
from app.web.security.identity import current_user

# `/api/v1/chats/ID/export.md` and `.json`: a chat as a file. docs/export.md has the format.


export_blueprint = Blueprint("api_files", __name__, url_prefix="/api/v1/chats/<chat_id>")


@export_blueprint.get("/export.md")
async def markdown(chat_id: str) -> Response:
    """The path that the chat shows, to be read."""
    pieces = server_context().exports.markdown(await get_chat_or_404(chat_id))
    return await spooled(pieces, "text/markdown; charset=utf-8")


@export_blueprint.get("/export.json")
async def json(chat_id: str) -> Response:
    """The chat with its whole tree of messages, as an import takes it."""
    pieces = server_context().exports.json(await get_chat_or_404(chat_id))
    return await spooled(pieces, "application/json")


# `/api/v1/chats`: a person's chats, the same ones as on the page.


blueprint = Blueprint("api_chats", __name__, url_prefix="/api/v1/chats")
LISTS: Final = ("listed", "pinned", "archived", "trashed")


@blueprint.get("")
async def list_chats() -> Response:
    """`?list=`: one of LISTS; `?after=`: where the page before ended."""
    context, user_id = server_context(), current_user()
    name = http.one_of(request.args.get("list", "listed"), LISTS, "list")
    after = request.args.get("after", "")
    cursor = Cursor.parse(after)
    if after and cursor is None:
        raise ApiError("This is not where a page of the list ended.", param="after")
    chats, more = await context.chats.page(user_id, cast("ListName", name), cursor)
    running = context.hub.running_chats(user_id)
    data = [chat_object(chat, running) for chat in chats]
    return http.json_response(ChatList(data, str(more) if more else None))


@blueprint.post("")
async def create() -> Response:
    context, user_id = server_context(), current_user()
    body = await http.parse_body(NewChat)
    chat_id = _chat_id(user_id, body.client_id)
    before = await context.chats.get(user_id, chat_id)
    model = body.model or await messages.model_for(before)
    context.answers.resolve_settings(model)  # nothing is kept for a model that is not there
    if body.settings is not None and before is None:
        await context.chats.choose_settings(user_id, chat_id, body.settings.overrides())
    made = await messages.submit_prompt(chat_id, body.text, model, body.client_id)
    if body.title is not None and before is None:
        await context.chats.rename(user_id, chat_id, body.title)
        made.chat = await get_settings(await get_chat_or_404(chat_id))
    return http.json_response(made, status=201)


def _chat_id(user_id: int, client_id: str | None) -> str:
    """Return one id for one `client_id`, so that it makes one chat however often it is sent."""
    if client_id is None:
        return secrets.token_hex(8)
    return hashlib.sha256(f"{user_id} {client_id}".encode()).hexdigest()[:16]


@blueprint.get("/<chat_id>")
async def get(chat_id: str) -> Response:
    return http.json_response(await get_settings(await get_chat_or_404(chat_id)))


@blueprint.patch("/<chat_id>")
async def change(chat_id: str) -> Response:
    context, user_id = server_context(), current_user()
    chat = await get_chat_or_404(chat_id)
    change_body = await http.parse_body(ChatChange)
    if change_body.title is not UNSET:
        await context.chats.rename(user_id, chat.id, change_body.title)
    if change_body.model is not UNSET:
        context.answers.resolve_settings(change_body.model)
        await context.chats.choose_model(user_id, chat.id, change_body.model)
    if change_body.settings is not UNSET:
        await context.chats.choose_settings(user_id, chat.id, change_body.settings.overrides())
    if change_body.pinned is not UNSET:
        await context.chats.set_state(
            user_id, chat.id, "pinned_at", time.time() if change_body.pinned else None
        )
    if change_body.archived is not UNSET:
        when = time.time() if change_body.archived else None
        await context.chats.set_state(user_id, chat.id, "archived_at", when)
    if change_body.deleted is not UNSET:
        verb = context.chats.delete if change_body.deleted else context.chats.restore
        await verb(user_id, chat.id)
    return http.json_response(await get_settings(await get_chat_or_404(chat_id)))


@blueprint.delete("/<chat_id>")
async def delete(chat_id: str) -> Response:
    """Into the trash, from where a change brings it back for a month. `?forever=true`: for good."""
    is_forever = http.one_of(request.args.get("forever", "false"), ("true", "false"), "forever")
    await get_chat_or_404(chat_id)
    await server_context().chats.delete(current_user(), chat_id)
    if is_forever == "true":
        await server_context().trash.remove(current_user(), chat_id)
    return Response(status=204)


@blueprint.post("/<chat_id>/stop")
async def stop(chat_id: str) -> Response:
    """End the answer that is being written; its text so far stays."""
    await get_chat_or_404(chat_id)
    await server_context().answers.stop(current_user(), chat_id)
    return Response(status=204)


async def get_settings(chat: Chat) -> ChatObject:
    """The chat with its settings."""
    context = server_context()
    found = chat_object(chat, context.hub.running_chats(chat.user_id))
    found.settings = settings_object(await context.chats.settings(chat.user_id, chat.id))
    return found
