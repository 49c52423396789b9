"""Folders in the list of chats: their menu, their settings, and what is moved into them."""

from __future__ import annotations

from quart import Blueprint, Response, request

from app.errors import ChatError
from app.web.addresses import row_id
from app.web.context import server_context
from app.web.pages.chat import get_saved_chat_or_404
from app.web.render.chat import models_ready
from app.web.security.identity import current_user

blueprint = Blueprint("folders", __name__, url_prefix="/folders/<int:folder_id>")
new_blueprint = Blueprint("new_folder", __name__, url_prefix="/folders/new")
chat_blueprint = Blueprint("folder_of_chat", __name__, url_prefix="/chats/<chat_id>/folder")


@new_blueprint.get("")
async def new_form() -> str:
    return server_context().fragments.render("_new_folder.html")


@new_blueprint.post("")
async def add() -> str:
    context = server_context()
    folder = await context.folders.add(current_user(), (await request.form).get("name", ""))
    return context.fragments.closed_dialog() + context.fragments.notice(
        f"“{folder.name}” is in the list. Drag chats into it, or move them by their menu.",
        is_done=True,
    )


@blueprint.get("/menu")
async def menu(folder_id: int) -> str:
    context = server_context()
    folder = await context.folders.get(current_user(), folder_id)
    return context.fragments.render("_folder_menu.html", folder=folder)


@blueprint.get("")
async def form(folder_id: int) -> str:
    context = server_context()
    folder = await context.folders.get(current_user(), folder_id)
    options = await models_ready(context)
    return context.fragments.render("_folder.html", folder=folder, options=options)


@blueprint.post("")
async def change(folder_id: int) -> str:
    context, values = server_context(), await request.form
    await context.folders.change(
        *(current_user(), folder_id, values.get("name", "")),
        instructions=values.get("instructions", ""),
        model=values.get("model", ""),
    )
    return context.fragments.closed_dialog() + context.fragments.notice("Saved.", is_done=True)


@blueprint.post("/fold")
async def fold(folder_id: int) -> Response:
    is_folded = request.args.get("folded") == "1"
    await server_context().folders.fold(current_user(), folder_id, is_folded=is_folded)
    return Response(status=204)


@blueprint.delete("")
async def remove(folder_id: int) -> str:
    context = server_context()
    folder = await context.folders.get(current_user(), folder_id)
    await context.folders.remove(current_user(), folder_id)
    return context.fragments.notice(f"“{folder.name}” is deleted. Its chats are still here.")


@chat_blueprint.get("")
async def choices(chat_id: str) -> str:
    """Ask where a chat is to go."""
    context = server_context()
    chat = await get_saved_chat_or_404(chat_id)
    folders = await context.folders.all(current_user())
    return context.fragments.render("_move.html", chat=chat, folders=folders)


@chat_blueprint.post("")
async def move(chat_id: str) -> str:
    """Move a chat to `?folder=`, to none where that is empty, or to a new one of a name."""
    context, user_id = server_context(), current_user()
    name = (await request.form).get("name")
    if name is not None:
        folder = await context.folders.add(user_id, name, chat_id=chat_id)
        text = context.fragments.notice(f"Moved to “{folder.name}”.", is_done=True)
        return context.fragments.closed_dialog() + text
    if not (given := request.args.get("folder", "")):
        await context.folders.move(user_id, chat_id, None)
        return context.fragments.notice("Moved out of the folder.", is_done=True)
    if (folder_id := request.args.get("folder", type=row_id)) is None:
        raise ChatError(f"“{given[:20]}” is not a folder.")
    await context.folders.move(user_id, chat_id, folder_id)
    folder = await context.folders.get(user_id, folder_id)
    return context.fragments.notice(f"Moved to “{folder.name}”.", is_done=True)
