"""Actions on one message; what comes of them reaches every tab over its socket."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response, request

from app.conversations.refs import MessageRef
from app.errors import ChatError
from app.web.addresses import row_id
from app.web.context import server_context
from app.web.render.chat import models_ready
from app.web.security.identity import current_user

blueprint = Blueprint("messages", __name__, url_prefix="/chats/<chat_id>/messages/<int:message_id>")


def _message_ref(chat_id: str, message_id: int) -> MessageRef:
    return MessageRef(current_user(), chat_id, message_id)


@blueprint.post("/again")
async def regenerate(chat_id: str, message_id: int) -> Response:
    """Another answer; a page that shows the same newest one asks for it once."""
    newest = request.args.get("newest", type=row_id)
    if newest is None:
        raise ChatError("Wick did not understand this request. Reload the page.")
    wish = f"beside{newest}" if newest else f"first{message_id}"
    ref = _message_ref(chat_id, message_id)
    model = request.args.get("model") or await _replace_model(
        ref, (await request.form).get("model", "")
    )
    await server_context().branches.regenerate(ref, wish, model)
    return Response(status=204)


async def _replace_model(ref: MessageRef, picked: str) -> str:
    """The model of the picker, unless the message has one that is there: then none."""
    context = server_context()
    message = await context.branches.get(ref)
    there = {option.name for option in await models_ready(context)}
    return "" if message.model in there else picked


@blueprint.get("/models")
async def models(chat_id: str, message_id: int) -> str:
    """Ask which model is to answer this time."""
    context = server_context()
    message = await context.branches.get(_message_ref(chat_id, message_id))
    return context.fragments.render(
        "_other_model.html",
        chat_id=chat_id,
        message_id=message_id,
        newest=request.args.get("newest", 0, type=row_id),
        options=await models_ready(context),
        chosen=message.model,
    )


@blueprint.get("/edit")
async def edit_form(chat_id: str, message_id: int) -> str:
    context = server_context()
    return context.fragments.render(
        "_edit.html",
        chat_id=chat_id,
        message=await context.branches.get(_message_ref(chat_id, message_id)),
        client_id=secrets.token_hex(16),
        limit=context.settings.message_chars,
    )


@blueprint.post("/edit")
async def edit(chat_id: str, message_id: int) -> Response:
    form = await request.form
    client_id = form.get("client_id", "")
    if not 8 <= len(client_id) <= 64 or not client_id.isalnum():
        raise ChatError("Wick did not understand this request. Reload the page.")
    await server_context().branches.edit(
        _message_ref(chat_id, message_id), form.get("text", ""), client_id, form.get("model", "")
    )
    return Response(status=204)


@blueprint.post("/go-on")
async def continue_answer(chat_id: str, message_id: int) -> Response:
    await server_context().branches.continue_answer(_message_ref(chat_id, message_id))
    return Response(status=204)


@blueprint.post("/show")
async def show(chat_id: str, message_id: int) -> Response:
    await server_context().branches.select_branch(_message_ref(chat_id, message_id))
    return Response(status=204)


@blueprint.delete("")
async def remove(chat_id: str, message_id: int) -> str:
    context = server_context()
    await context.branches.remove(_message_ref(chat_id, message_id))
    undo = f"/chats/{chat_id}/messages/{message_id}/put-back"
    return context.fragments.notice("Message and replies deleted.", undo=undo)


@blueprint.post("/put-back")
async def restore(chat_id: str, message_id: int) -> str:
    context = server_context()
    await context.branches.restore(_message_ref(chat_id, message_id))
    return context.fragments.notice("")
