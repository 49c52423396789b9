"""What a person does with a chat besides writing in it; the list beside it follows by itself."""

from __future__ import annotations

import re
import time

from quart import Blueprint, Response, request

from app.errors import ChatNotFound
from app.store.chats import Chat
from app.store.lists import Cursor
from app.web import sidebar
from app.web.identity import current_user
from app.web.markdown import escape_text
from app.web.sidebar import SidebarContext
from app.web.state import server_context

chats_blueprint = Blueprint("chats", __name__, url_prefix="/chats")


@chats_blueprint.post("/<chat_id>/stop")
async def stop(chat_id: str) -> Response:
    await get_chat_or_404(chat_id)
    await server_context().answers.stop(current_user(), chat_id)
    return Response(status=204)


@chats_blueprint.post("/<chat_id>/messages/<int:answer_id>/take-back")
async def withdraw(chat_id: str, answer_id: int) -> str:
    """The text goes back into the composer of the tab that asked."""
    text = await server_context().answers.withdraw(current_user(), chat_id, answer_id)
    return escape_text(text)


@chats_blueprint.get("/<chat_id>/messages/<int:message_id>/text")
async def text(chat_id: str, message_id: int) -> Response:
    """A message as it was written, in Markdown where it is an answer."""
    context = server_context()
    path = await context.chats.messages(await get_chat_or_404(chat_id))
    found = next((message for message in path if message.id == message_id), None)
    if found is None:
        raise ChatNotFound("There is no such message.")
    stream = context.hub.stream(message_id)
    return Response(stream.text if stream else found.text, content_type="text/plain; charset=utf-8")


@chats_blueprint.get("/more")
async def more() -> str:
    """The next page of the list beside the chats."""
    after = Cursor.parse(request.args.get("after", ""))
    if after is None:
        raise ChatNotFound("This part of the list is not there. Reload the page, please.")
    return await sidebar.more(_sidebar_context(), after)


@chats_blueprint.get("/<chat_id>/menu")
async def menu(chat_id: str) -> str:
    return server_context().fragments.render("_menu.html", chat=await get_chat_or_404(chat_id))


@chats_blueprint.get("/<chat_id>/name")
async def name_form(chat_id: str) -> str:
    return server_context().fragments.render("_rename.html", chat=await get_chat_or_404(chat_id))


@chats_blueprint.get("/<chat_id>/row")
async def row(chat_id: str) -> str:
    """The name is not edited after all."""
    return await sidebar.row(_sidebar_context(), (await get_chat_or_404(chat_id)).id)


@chats_blueprint.post("/<chat_id>/name")
async def rename(chat_id: str) -> str:
    form = await request.form
    await server_context().chats.rename(current_user(), chat_id, form.get("title", ""))
    return await sidebar.row(_sidebar_context(form.get("until", "")), chat_id)


@chats_blueprint.post("/<chat_id>/pin")
async def pin(chat_id: str) -> Response:
    await server_context().chats.set_state(current_user(), chat_id, "pinned_at", time.time())
    return Response(status=204)


@chats_blueprint.post("/<chat_id>/unpin")
async def unpin(chat_id: str) -> Response:
    await server_context().chats.set_state(current_user(), chat_id, "pinned_at", None)
    return Response(status=204)


@chats_blueprint.post("/<chat_id>/archive")
async def archive(chat_id: str) -> str:
    chat = await get_chat_or_404(chat_id)
    await server_context().chats.set_state(current_user(), chat_id, "archived_at", time.time())
    return _move_chat(chat, "in the archive", "unarchive")


@chats_blueprint.post("/<chat_id>/unarchive")
async def unarchive(chat_id: str) -> str:
    await server_context().chats.set_state(current_user(), chat_id, "archived_at", None)
    return server_context().fragments.notice("") + _notify_removed(chat_id)


@chats_blueprint.delete("/<chat_id>")
async def delete(chat_id: str) -> str:
    chat = await get_chat_or_404(chat_id)
    await server_context().chats.delete(current_user(), chat_id)
    return _move_chat(chat, "in the trash", "restore") + _notify_removed(chat_id)


@chats_blueprint.post("/<chat_id>/restore")
async def restore(chat_id: str) -> str:
    await server_context().chats.restore(current_user(), chat_id)
    return server_context().fragments.notice("") + _notify_removed(chat_id)


async def get_chat_or_404(chat_id: str) -> Chat:
    """The chat of the person who asks. Raises ChatNotFound."""
    chat = await server_context().chats.get(current_user(), chat_id)
    if chat is None:
        raise ChatNotFound("There is no such chat.")
    return chat


def _move_chat(chat: Chat, where: str, back: str) -> str:
    text = f"“{chat.title}” is {where}."
    return server_context().fragments.notice(text, undo=f"/chats/{chat.id}/{back}")


def _notify_removed(chat_id: str) -> str:
    """Takes the chat out of a page that lists the archive or the trash."""
    return f'<div hx-swap-oob="delete:#away-{chat_id}"></div>'


def _sidebar_context(until: str | None = None) -> SidebarContext:
    """The list in the page that asks."""
    found = re.search(r"/chats/([0-9a-f]{16})\b", request.headers.get("HX-Current-URL", ""))
    cursor = Cursor.parse(request.args.get("until", "") if until is None else until)
    return SidebarContext(server_context(), current_user(), found[1] if found else "", cursor)
