"""The page of a chat, and what its menu, its line in the list and its messages do."""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

from quart import Blueprint, Response, request

from app.conversations.answer_state import MessageRef
from app.conversations.chats import new_chat_id
from app.conversations.personas import starters_of
from app.db.chats import Chat, Cursor
from app.db.folders import Folder
from app.db.personas import Persona
from app.documents.reader import MAX_DOCUMENT_BYTES
from app.errors import ChatError, ChatNotFound
from app.inference.kv_files import is_memory_only
from app.media.pictures import MAX_PICTURE_BYTES
from app.web.addresses import row_id
from app.web.context import server_context, services_of
from app.web.render import sidebar
from app.web.render.chat import (
    better_model,
    load_chat_view,
    missing_model,
    picker_options,
    suggested_models,
    suggested_starters,
)
from app.web.render.frame import render_page
from app.web.render.markdown import escape_text
from app.web.render.sidebar import SidebarContext
from app.web.render.warning import warning
from app.web.security.identity import current_user

# What a user does with a chat besides writing in it; the list beside it follows by itself.

chats_blueprint = Blueprint("chats", __name__, url_prefix="/chats")


@chats_blueprint.post("/<chat_id>/stop")
async def stop(chat_id: str) -> Response:
    await get_chat_or_404(chat_id)
    await services_of(chat_id).answers.stop(current_user(), chat_id)
    return Response(status=204)


@chats_blueprint.post("/<chat_id>/messages/<int:answer_id>/take-back")
async def withdraw(chat_id: str, answer_id: int) -> str:
    """Text and files go back into the composer of the tab that asked."""
    text, files = await services_of(chat_id).answers.withdraw(current_user(), chat_id, answer_id)
    return escape_text(text) + server_context().fragments.chips(files, oob=True)


@chats_blueprint.get("/<chat_id>/messages/<int:message_id>/text")
async def text(chat_id: str, message_id: int) -> Response:
    """A message as it was written, in Markdown where it is an answer, below its files' names."""
    context = server_context()
    path = await services_of(chat_id).chats.messages(await get_chat_or_404(chat_id))
    found = next((message for message in path if message.id == message_id), None)
    if found is None:
        raise ChatNotFound("There is no such message.")
    stream = context.hub.stream(message_id)
    files = ", ".join(file.name for file in found.attachments)
    parts = [f"Attached: {files}" if files else "", stream.text if stream else found.text]
    text = "\n\n".join(part for part in parts if part)
    return Response(text, content_type="text/plain; charset=utf-8")


@chats_blueprint.get("/more")
async def more() -> str:
    """The next page of the list beside the chats."""
    after = Cursor.parse(request.args.get("after", ""))
    if after is None:
        raise ChatNotFound("This part of the list no longer exists. Reload the page.")
    return await sidebar.more(_sidebar_context(), after)


@chats_blueprint.get("/<chat_id>/menu")
async def menu(chat_id: str) -> str:
    """The menu of a chat in the list; or in its own header, also before it has begun."""
    is_header = request.args.get("in") == "header"
    chat = await services_of(chat_id).chats.get(current_user(), chat_id)
    if chat is None and not is_header:
        raise ChatNotFound
    return server_context().fragments.render(
        "_menu.html",
        chat_id=chat_id,
        chat=chat,
        is_header=is_header,
        is_temporary=is_memory_only(chat_id),
        tool_count=await tool_count(chat_id),
    )


async def tool_count(chat_id: str) -> int:
    """Return how many tools are on in a chat."""
    tools = services_of(chat_id).answers.tools
    return len(await tools.chosen.chosen(current_user(), chat_id))


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
    await services_of(chat_id).chats.rename(current_user(), chat_id, form.get("title", ""))
    return await sidebar.row(_sidebar_context(form.get("until", "")), chat_id)


@chats_blueprint.post("/<chat_id>/title")
async def change_title(chat_id: str) -> Response:
    """Rename the chat that is shown; its title and the list follow over the socket."""
    form = await request.form
    await services_of(chat_id).chats.rename(current_user(), chat_id, form.get("title", ""))
    return Response(status=204)


@chats_blueprint.post("/<chat_id>/pin")
async def pin(chat_id: str) -> Response:
    await (
        server_context()
        .of(chat_id)
        .chats.set_state(current_user(), chat_id, "pinned_at", time.time())
    )
    return Response(status=204)


@chats_blueprint.post("/<chat_id>/unpin")
async def unpin(chat_id: str) -> Response:
    await services_of(chat_id).chats.set_state(current_user(), chat_id, "pinned_at", None)
    return Response(status=204)


@chats_blueprint.post("/<chat_id>/archive")
async def archive(chat_id: str) -> str:
    chat = await get_chat_or_404(chat_id)
    await (
        server_context()
        .of(chat_id)
        .chats.set_state(current_user(), chat_id, "archived_at", time.time())
    )
    return _move_chat(chat, "in the archive", "unarchive")


@chats_blueprint.post("/<chat_id>/unarchive")
async def unarchive(chat_id: str) -> str:
    await services_of(chat_id).chats.set_state(current_user(), chat_id, "archived_at", None)
    return server_context().fragments.notice("") + _notify_removed(chat_id)


@chats_blueprint.delete("/<chat_id>")
async def delete(chat_id: str) -> str | Response:
    chat = await get_chat_or_404(chat_id)
    if is_memory_only(chat_id):
        await server_context().temporary.end(chat_id)
        return Response(status=204, headers={"HX-Redirect": "/"})
    await services_of(chat_id).chats.delete(current_user(), chat_id)
    return _move_chat(chat, "in the trash", "restore") + _notify_removed(chat_id)


@chats_blueprint.post("/<chat_id>/keep")
async def keep(chat_id: str) -> Response:
    """Make an ordinary chat of a temporary one, and go there."""
    await get_chat_or_404(chat_id)
    if not is_memory_only(chat_id):
        raise ChatError("This chat is not temporary, so it is kept anyway.")
    kept = await server_context().kept.keep(current_user(), chat_id)
    return Response(status=204, headers={"HX-Redirect": f"/chats/{kept}"})


@chats_blueprint.post("/<chat_id>/restore")
async def restore(chat_id: str) -> str:
    await services_of(chat_id).chats.restore(current_user(), chat_id)
    return server_context().fragments.notice("") + _notify_removed(chat_id)


async def get_chat_or_404(chat_id: str) -> Chat:
    """The chat of the user who asks. Raises ChatNotFound."""
    chat = await services_of(chat_id).chats.get(current_user(), chat_id)
    if chat is None:
        raise (
            ChatNotFound("This temporary chat has ended.")
            if is_memory_only(chat_id)
            else ChatNotFound
        )
    return chat


async def get_saved_chat_or_404(chat_id: str) -> Chat:
    """Get the same, but refuse a temporary chat: no file is written of it."""
    chat = await get_chat_or_404(chat_id)
    if is_memory_only(chat_id):
        raise ChatError("Temporary chats can't be exported. Copy what you need.")
    return chat


def _move_chat(chat: Chat, where: str, back: str) -> str:
    text = f"“{chat.title}” is {where}."
    return server_context().fragments.notice(text, undo=f"/chats/{chat.id}/{back}")


def _notify_removed(chat_id: str) -> str:
    """Take the chat out of a page that lists the archive or the trash."""
    return server_context().fragments.removed(f"#away-{chat_id}")


def _sidebar_context(until: str | None = None) -> SidebarContext:
    """The list in the page that asks."""
    found = re.search(r"/chats/(t?[0-9a-f]{16})\b", request.headers.get("HX-Current-URL", ""))
    cursor = Cursor.parse(request.args.get("until", "") if until is None else until)
    return SidebarContext(server_context(), current_user(), found[1] if found else "", cursor)


# The page itself: a new chat at `/`, any other at its own address.

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
async def new_chat() -> Response:
    """A chat that begins to exist with its first message; until then no address leads to it.
    `?persona=ID` has it begin with that, `?folder=ID` in that."""
    chosen = request.args.get("persona", type=row_id)
    persona = await server_context().personas.find(current_user(), chosen)
    folder = await server_context().folders.find(
        current_user(), request.args.get("folder", type=row_id)
    )
    return await _page(new_chat_id(), persona=persona, folder=folder)


@blueprint.get("/temporary")
async def new_temporary_chat() -> Response:
    """Begin a chat that is kept in memory alone, and ends with its tab."""
    return await _page(new_chat_id(temporary=True))


@blueprint.get("/chats/<chat_id>")
async def chat(chat_id: str) -> Response:
    """Render a chat; `?message=ID` shows a path through that message, as far up as it."""
    user_id = current_user()
    await get_chat_or_404(chat_id)
    await services_of(chat_id).chats.mark_read(user_id, chat_id)
    if (message_id := request.args.get("message", type=row_id)) is not None:
        await services_of(chat_id).chats.show_path_to(user_id, chat_id, message_id)
    return await _page(chat_id, message_id)


async def _page(
    chat_id: str,
    sought: int | None = None,
    persona: Persona | None = None,
    folder: Folder | None = None,
) -> Response:
    """Render the page; `sought`: a message that the shown part must hold; `persona`, `folder`:
    with which and in which a new chat is to begin."""
    context = server_context()
    user_id = current_user()
    version = context.hub.version
    seen = await load_chat_view(context, user_id, chat_id, sought=sought)
    preferred = (persona.model if persona else "") or (folder.model if folder else "")
    options, chosen = await picker_options(context, seen.chat, preferred)
    lacking = await missing_model(context, options, chosen)
    offers = [] if lacking else await suggested_models(context)
    fragments = context.fragments
    return await render_page(
        "page.html",
        chat_id=chat_id,
        title=seen.title,
        is_temporary=is_memory_only(chat_id),
        version=version,
        client_id=secrets.token_hex(16),
        largest_file=MAX_DOCUMENT_BYTES,
        largest_picture=MAX_PICTURE_BYTES,
        has_ocr=context.media.can_recognize,
        first=seen.first or "",
        messages=fragments.messages(seen.views, seen.divider, seen.earlier),
        picker=fragments.picker(chat_id, options, chosen),
        pulls=fragments.pulls(context.pulls.all(), offers),
        missing=fragments.missing(lacking),
        better=fragments.better(await better_model(context)),
        full=fragments.full(warning(context)),
        gauge=seen.gauge,
        is_changed=bool((await context.of(chat_id).chats.settings(user_id, chat_id)).overrides),
        tool_count=await tool_count(chat_id),
        persona=persona or await context.personas.of_chat(user_id, chat_id),
        new_persona=persona.id if persona else "",
        folder=folder or await context.folders.of_chat(user_id, chat_id),
        new_folder=folder.id if folder else "",
        welcome=await _starters(chat_id, chosen, persona) if seen.chat is None else "",
        is_shared=await context.shares.since(user_id, chat_id) is not None,
        actions=fragments.actions(
            chat_id=chat_id, is_running=seen.is_running, is_deleted=seen.is_deleted
        ),
    )


MAX_PERSONAS: Final = 8
"""Personas that the page of a new chat offers; the page about them has all."""


async def _starters(chat_id: str, model: str, persona: Persona | None) -> str:
    """Render what a new chat may begin with."""
    context = server_context()
    starters = list(starters_of(persona)) if persona else []
    offered = [] if is_memory_only(chat_id) else await context.personas.all(current_user())
    offered.sort(key=lambda one: persona is None or one.id != persona.id)  # the chosen one first
    return context.fragments.render(
        "_starters.html",
        oob=False,
        persona=persona,
        starters=starters or await suggested_starters(context, model),
        personas=offered[:MAX_PERSONAS],
    )


# Actions on one message; what comes of them reaches every tab over its socket.

messages_blueprint = Blueprint(
    "messages", __name__, url_prefix="/chats/<chat_id>/messages/<int:message_id>"
)


def _message_ref(chat_id: str, message_id: int) -> MessageRef:
    return MessageRef(current_user(), chat_id, message_id)


@messages_blueprint.get("/edit")
async def edit_form(chat_id: str, message_id: int) -> str:
    context = server_context()
    return context.fragments.render(
        "_edit.html",
        chat_id=chat_id,
        message=await services_of(chat_id).branches.get(_message_ref(chat_id, message_id)),
        client_id=secrets.token_hex(16),
        limit=context.settings.message_chars,
    )


@messages_blueprint.post("/edit")
async def edit(chat_id: str, message_id: int) -> Response:
    form = await request.form
    client_id = form.get("client_id", "")
    if not 8 <= len(client_id) <= 64 or not client_id.isalnum():
        raise ChatError("Wick did not understand this request. Reload the page.")
    await (
        server_context()
        .of(chat_id)
        .branches.edit(
            _message_ref(chat_id, message_id),
            form.get("text", ""),
            client_id,
            form.get("model", ""),
            form.getlist("keep", type=row_id) if "files" in form else None,
        )
    )
    return Response(status=204)


@messages_blueprint.post("/go-on")
async def continue_answer(chat_id: str, message_id: int) -> Response:
    await services_of(chat_id).branches.continue_answer(_message_ref(chat_id, message_id))
    return Response(status=204)


@messages_blueprint.post("/branch")
async def branch_off(chat_id: str, message_id: int) -> Response:
    """Go to a new chat that begins like this one, up to this message."""
    copy = await services_of(chat_id).copies.branch_off(_message_ref(chat_id, message_id))
    return Response(status=204, headers={"HX-Redirect": f"/chats/{copy}"})


@messages_blueprint.post("/show")
async def show_branch(chat_id: str, message_id: int) -> Response:
    await services_of(chat_id).branches.select_branch(_message_ref(chat_id, message_id))
    return Response(status=204)


@messages_blueprint.delete("")
async def remove_message(chat_id: str, message_id: int) -> str:
    context = server_context()
    await services_of(chat_id).branches.remove(_message_ref(chat_id, message_id))
    undo = f"/chats/{chat_id}/messages/{message_id}/put-back"
    return context.fragments.notice("Message and replies deleted.", undo=undo)


@messages_blueprint.post("/put-back")
async def restore_message(chat_id: str, message_id: int) -> str:
    context = server_context()
    await services_of(chat_id).branches.restore(_message_ref(chat_id, message_id))
    return context.fragments.notice("")
