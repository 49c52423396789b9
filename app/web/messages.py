"""What a person does with one message; what comes of it reaches every tab over its socket."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response, request

from app.chats.branches import Spot
from app.errors import ChatError
from app.web.chat_view import models_ready
from app.web.identity import current_user
from app.web.row_ids import row_id
from app.web.state import state

blueprint = Blueprint("messages", __name__, url_prefix="/chats/<chat_id>/messages/<int:message_id>")


def _spot(chat_id: str, message_id: int) -> Spot:
    return Spot(current_user(), chat_id, message_id)


@blueprint.post("/again")
async def again(chat_id: str, message_id: int) -> Response:
    """Another answer; a page that shows the same newest one asks for it once."""
    newest = request.args.get("newest", type=row_id)
    if newest is None:
        raise ChatError("Wick did not understand this. Reload the page, please.")
    wish = f"beside{newest}" if newest else f"first{message_id}"
    spot = _spot(chat_id, message_id)
    model = request.args.get("model") or await _instead(spot, (await request.form).get("model", ""))
    await state().branches.regenerate(spot, wish, model)
    return Response(status=204)


async def _instead(spot: Spot, picked: str) -> str:
    """The model of the picker, unless the message has one that is there: then none."""
    here = state()
    message = await here.branches.find(spot)
    there = {option.name for option in await models_ready(here)}
    return "" if message.model in there else picked


@blueprint.get("/models")
async def models(chat_id: str, message_id: int) -> str:
    """Which model is to answer this time."""
    here = state()
    message = await here.branches.find(_spot(chat_id, message_id))
    return here.fragments.render(
        "_other_model.html",
        chat_id=chat_id,
        message_id=message_id,
        newest=request.args.get("newest", 0, type=row_id),
        options=await models_ready(here),
        chosen=message.model,
    )


@blueprint.get("/edit")
async def edit_form(chat_id: str, message_id: int) -> str:
    here = state()
    return here.fragments.render(
        "_edit.html",
        chat_id=chat_id,
        message=await here.branches.find(_spot(chat_id, message_id)),
        client_id=secrets.token_hex(16),
        limit=here.settings.message_chars,
    )


@blueprint.post("/edit")
async def edit(chat_id: str, message_id: int) -> Response:
    form = await request.form
    client_id = form.get("client_id", "")
    if not 8 <= len(client_id) <= 64 or not client_id.isalnum():
        raise ChatError("Wick did not understand this. Reload the page, please.")
    await state().branches.edit(
        _spot(chat_id, message_id), form.get("text", ""), client_id, form.get("model", "")
    )
    return Response(status=204)


@blueprint.post("/go-on")
async def go_on(chat_id: str, message_id: int) -> Response:
    await state().branches.go_on(_spot(chat_id, message_id))
    return Response(status=204)


@blueprint.post("/show")
async def show(chat_id: str, message_id: int) -> Response:
    await state().branches.choose(_spot(chat_id, message_id))
    return Response(status=204)


@blueprint.delete("")
async def remove(chat_id: str, message_id: int) -> str:
    here = state()
    await here.branches.remove(_spot(chat_id, message_id))
    undo = f"/chats/{chat_id}/messages/{message_id}/put-back"
    return here.fragments.notice("Deleted, with what followed.", undo=undo)


@blueprint.post("/put-back")
async def put_back(chat_id: str, message_id: int) -> str:
    here = state()
    await here.branches.put_back(_spot(chat_id, message_id))
    return here.fragments.notice("")
