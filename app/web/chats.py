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
from app.web.sidebar import Place
from app.web.state import state

blueprint = Blueprint("chats", __name__, url_prefix="/chats")


@blueprint.post("/<chat_id>/stop")
async def stop(chat_id: str) -> Response:
    await existing(chat_id)
    await state().asking.stop(current_user(), chat_id)
    return Response(status=204)


@blueprint.post("/<chat_id>/messages/<int:answer_id>/take-back")
async def take_back(chat_id: str, answer_id: int) -> str:
    """The text goes back into the composer of the tab that asked."""
    text = await state().asking.take_back(current_user(), chat_id, answer_id)
    return escape_text(text)


@blueprint.get("/<chat_id>/messages/<int:message_id>/text")
async def text(chat_id: str, message_id: int) -> Response:
    """A message as it was written, in Markdown where it is an answer."""
    here = state()
    path = await here.chats.messages(await existing(chat_id))
    found = next((message for message in path if message.id == message_id), None)
    if found is None:
        raise ChatNotFound("There is no such message.")
    stream = here.hub.stream(message_id)
    return Response(stream.text if stream else found.text, content_type="text/plain; charset=utf-8")


@blueprint.get("/more")
async def more() -> str:
    """The next page of the list beside the chats."""
    after = Cursor.parse(request.args.get("after", ""))
    if after is None:
        raise ChatNotFound("This part of the list is not there. Reload the page, please.")
    return await sidebar.more(_place(), after)


@blueprint.get("/<chat_id>/menu")
async def menu(chat_id: str) -> str:
    return state().fragments.render("_menu.html", chat=await existing(chat_id))


@blueprint.get("/<chat_id>/name")
async def name_form(chat_id: str) -> str:
    return state().fragments.render("_rename.html", chat=await existing(chat_id))


@blueprint.get("/<chat_id>/row")
async def row(chat_id: str) -> str:
    """The name is not edited after all."""
    return await sidebar.row(_place(), (await existing(chat_id)).id)


@blueprint.post("/<chat_id>/name")
async def rename(chat_id: str) -> str:
    form = await request.form
    await state().chats.rename(current_user(), chat_id, form.get("title", ""))
    return await sidebar.row(_place(form.get("until", "")), chat_id)


@blueprint.post("/<chat_id>/pin")
async def pin(chat_id: str) -> Response:
    await state().chats.put(current_user(), chat_id, "pinned_at", time.time())
    return Response(status=204)


@blueprint.post("/<chat_id>/unpin")
async def unpin(chat_id: str) -> Response:
    await state().chats.put(current_user(), chat_id, "pinned_at", None)
    return Response(status=204)


@blueprint.post("/<chat_id>/archive")
async def archive(chat_id: str) -> str:
    chat = await existing(chat_id)
    await state().chats.put(current_user(), chat_id, "archived_at", time.time())
    return _put_away(chat, "in the archive", "unarchive")


@blueprint.post("/<chat_id>/unarchive")
async def unarchive(chat_id: str) -> str:
    await state().chats.put(current_user(), chat_id, "archived_at", None)
    return state().fragments.notice("") + _gone(chat_id)


@blueprint.delete("/<chat_id>")
async def delete(chat_id: str) -> str:
    chat = await existing(chat_id)
    await state().chats.delete(current_user(), chat_id)
    return _put_away(chat, "in the trash", "restore") + _gone(chat_id)


@blueprint.post("/<chat_id>/restore")
async def restore(chat_id: str) -> str:
    await state().chats.restore(current_user(), chat_id)
    return state().fragments.notice("") + _gone(chat_id)


async def existing(chat_id: str) -> Chat:
    """The chat of the person who asks. Raises ChatNotFound."""
    chat = await state().chats.find(current_user(), chat_id)
    if chat is None:
        raise ChatNotFound("There is no such chat.")
    return chat


def _put_away(chat: Chat, where: str, back: str) -> str:
    text = f"“{chat.title}” is {where}."
    return state().fragments.notice(text, undo=f"/chats/{chat.id}/{back}")


def _gone(chat_id: str) -> str:
    """Takes the chat out of a page that lists the archive or the trash."""
    return f'<div hx-swap-oob="delete:#away-{chat_id}"></div>'


def _place(until: str | None = None) -> Place:
    """The list in the page that asks."""
    found = re.search(r"/chats/([0-9a-f]{16})\b", request.headers.get("HX-Current-URL", ""))
    cursor = Cursor.parse(request.args.get("until", "") if until is None else until)
    return Place(state(), current_user(), found[1] if found else "", cursor)
