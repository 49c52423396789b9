"""Ways to another answer: again, shorter, longer, with another model, with other settings."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from quart import Blueprint, Response, request

from app.conversations.answer_state import MessageRef
from app.conversations.branches import Length
from app.conversations.settings import parse, written
from app.errors import ChatError, InvalidSettings, ModelError
from app.models.parameters import SETTINGS
from app.web.addresses import row_id
from app.web.context import server_context, services_of
from app.web.pages.settings import default_texts
from app.web.render.chat import models_ready
from app.web.security.identity import current_user

blueprint = Blueprint(
    "regeneration", __name__, url_prefix="/chats/<chat_id>/messages/<int:message_id>"
)
FIELDS: Final = ("system_prompt", "temperature", "top_p", "max_tokens", "seed")
"""Settings that the dialog of another answer has; the others are the chat's."""
LENGTHS: Final[Mapping[str, Length]] = {"shorter": "shorter", "longer": "longer"}


def _message_ref(chat_id: str, message_id: int) -> MessageRef:
    return MessageRef(current_user(), chat_id, message_id)


@blueprint.post("/again")
async def regenerate(chat_id: str, message_id: int) -> Response:
    """Another answer; a page that shows the same newest one asks for it once."""
    ref = _message_ref(chat_id, message_id)
    key = _request_key(ref, request.args.get("newest"))
    model = request.args.get("model") or await _replace_model(
        ref, (await request.form).get("model", "")
    )
    branches = services_of(chat_id).branches
    if length := LENGTHS.get(request.args.get("length", "")):
        await branches.regenerate(ref, key, model, length=length)
    else:
        await branches.regenerate(ref, key, model)
    return Response(status=204)


def _request_key(ref: MessageRef, given: str | None) -> str:
    """Name the request by the newest answer that the page shows."""
    try:
        newest = row_id(given or "")
    except ValueError as error:
        raise ChatError("Wick did not understand this request. Reload the page.") from error
    return f"beside{newest}" if newest else f"first{ref.message_id}"


async def _replace_model(ref: MessageRef, picked: str) -> str:
    """The model of the picker, unless the message has one that is there: then none."""
    context = server_context()
    message = await services_of(ref.chat_id).branches.get(ref)
    there = {option.name for option in await models_ready(context)}
    return "" if message.model in there else picked


@blueprint.get("/ways")
async def ways(chat_id: str, message_id: int) -> str:
    """The menu beside a button Regenerate."""
    context = server_context()
    return context.fragments.render(
        "_answer_menu.html",
        message=await services_of(chat_id).branches.get(_message_ref(chat_id, message_id)),
        newest=request.args.get("newest", 0, type=row_id),
    )


@blueprint.get("/models")
async def other_models(chat_id: str, message_id: int) -> str:
    """Ask which model is to answer this time."""
    context = server_context()
    message = await services_of(chat_id).branches.get(_message_ref(chat_id, message_id))
    return context.fragments.render(
        "_other_model.html",
        chat_id=chat_id,
        message_id=message_id,
        newest=request.args.get("newest", 0, type=row_id),
        options=await models_ready(context),
        chosen=message.model,
    )


@blueprint.get("/settings")
async def other_settings(chat_id: str, message_id: int) -> str:
    """Ask with which settings it is to be answered this time."""
    ref = _message_ref(chat_id, message_id)
    chosen = await services_of(chat_id).chats.settings(ref.user_id, chat_id)
    values = written(chosen) | {"newest": request.args.get("newest", "0")}
    return await _render_settings(ref, values, {})


@blueprint.post("/settings")
async def regenerate_with_settings(chat_id: str, message_id: int) -> Response:
    """Another answer with these settings, which the chat itself does not take over."""
    context, ref = server_context(), _message_ref(chat_id, message_id)
    values = (await request.form).to_dict()
    key = _request_key(ref, values.get("newest"))
    before = await services_of(chat_id).chats.settings(ref.user_id, chat_id)
    try:
        chosen = parse(values, context.settings.message_chars, before)
    except InvalidSettings as error:
        html = await _render_settings(ref, values, error.problems)
        return Response(html, status=error.status, content_type="text/html")
    model = await _replace_model(ref, values.get("model", ""))
    await services_of(chat_id).branches.regenerate(ref, key, model, chosen=chosen)
    return Response(context.fragments.closed_dialog() + context.fragments.notice(""))


async def _render_settings(
    ref: MessageRef, values: Mapping[str, str], errors: Mapping[str, str]
) -> str:
    context = server_context()
    message = await services_of(ref.chat_id).branches.get(ref)
    await context.model_names.load([message.model])
    defaults: Mapping[str, str] = {}
    with contextlib.suppress(ModelError):  # it has gone, and another answers
        defaults = default_texts(context.answers.resolve_settings(message.model or ""))
    return context.fragments.render(
        "_other_settings.html",
        chat_id=ref.chat_id,
        message_id=ref.message_id,
        newest=values["newest"],
        model=context.model_names.title(message.model),
        fields=[SETTINGS[name] for name in FIELDS],
        values=values,
        kept={name: values[name] for name in SETTINGS if name in values and name not in FIELDS},
        errors={name: errors[name] for name in SETTINGS if name in errors},
        defaults=defaults,
    )
