"""What a person does with a chat besides writing in it: stop, rename, delete, restore."""

from __future__ import annotations

from quart import Blueprint, Response, request

from app.errors import ChatNotFound
from app.store.chats import Chat
from app.web.markdown import escape_text
from app.web.state import current_user, state

blueprint = Blueprint("chats", __name__, url_prefix="/chats")


@blueprint.post("/<chat_id>/stop")
async def stop(chat_id: str) -> Response:
    await _existing(chat_id)
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
    path = await here.chats.messages(await _existing(chat_id))
    found = next((message for message in path if message.id == message_id), None)
    if found is None:
        raise ChatNotFound("There is no such message.")
    stream = here.hub.stream(message_id)
    return Response(stream.text if stream else found.text, content_type="text/plain; charset=utf-8")


@blueprint.get("/<chat_id>/name")
async def name_form(chat_id: str) -> str:
    return state().fragments.rename_form(await _existing(chat_id))


@blueprint.post("/<chat_id>/name")
async def rename(chat_id: str) -> str:
    title = (await request.form).get("title", "")
    await state().chats.rename(current_user(), chat_id, title)
    return await _sidebar()


@blueprint.delete("/<chat_id>")
async def delete(chat_id: str) -> str:
    here = state()
    chat = await _existing(chat_id)
    await here.chats.delete(current_user(), chat_id)
    notice = here.fragments.notice(
        f"“{chat.title}” is in the trash.", undo=f"/chats/{chat_id}/restore"
    )
    return await _sidebar() + notice


@blueprint.post("/<chat_id>/restore")
async def restore(chat_id: str) -> str:
    here = state()
    await here.chats.restore(current_user(), chat_id)
    return await _sidebar() + here.fragments.notice("")


async def _existing(chat_id: str) -> Chat:
    chat = await state().chats.find(current_user(), chat_id)
    if chat is None:
        raise ChatNotFound("There is no such chat.")
    return chat


async def _sidebar() -> str:
    """The list of chats, marked for the chat of the page that asks."""
    here = state()
    user_id = current_user()
    page = request.headers.get("HX-Current-URL", "").rpartition("/chats/")[2]
    recent = await here.chats.recent(user_id)
    return here.fragments.sidebar_oob(recent, page, here.hub.running_chats(user_id))
