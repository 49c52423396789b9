"""The settings of one chat: the dialog, and what a user puts into it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from quart import Blueprint, Response, request

from app.conversations.settings import ChatSettings, parse, written
from app.errors import InvalidSettings, ModelError
from app.models.parameters import SETTINGS, THINKING, GenerationSettings
from app.models.text.builtin_templates import thinking_parameters_of
from app.web.context import server_context
from app.web.pages.model_settings import default_text
from app.web.render.chat import picker_options
from app.web.security.identity import current_user

blueprint = Blueprint("chat_settings", __name__)


FIELDS: Final = tuple(SETTINGS.values())


@blueprint.get("/chats/<chat_id>/settings")
async def form(chat_id: str) -> str:
    await server_context().chats.get(current_user(), chat_id)
    chosen = await server_context().chats.settings(current_user(), chat_id)
    return await _form(chat_id, written(chosen), {})


@blueprint.post("/chats/<chat_id>/settings")
async def save(chat_id: str) -> Response:
    """Nothing is left of the dialog when they are saved; else it says what is wrong."""
    context, user_id = server_context(), current_user()
    await context.chats.get(user_id, chat_id)
    values = (await request.form).to_dict()
    before = await context.chats.settings(user_id, chat_id)
    try:
        chosen = (
            ChatSettings()
            if "reset" in values
            else parse(values, context.settings.message_chars, before)
        )
    except InvalidSettings as error:
        html = await _form(chat_id, values, error.problems)
        return Response(html, status=error.status, content_type="text/html")
    await context.chats.choose_settings(user_id, chat_id, chosen)
    return Response(context.fragments.closed_dialog() + context.fragments.notice(""))


def default_texts(default: GenerationSettings) -> dict[str, str]:
    """What empty fields mean, to stand in them. The model's own stop strings are added to those of
    the chat, so they are no default."""
    return {
        field.name: default_text(field, default.value(field.name))
        for field in FIELDS
        if field.kind != "texts"
    }


async def _form(chat_id: str, values: Mapping[str, str], errors: Mapping[str, str]) -> str:
    context = server_context()
    _, model = await picker_options(context, await context.chats.get(current_user(), chat_id))
    fields = {field.name for field in FIELDS}
    try:
        default = default_texts(context.answers.resolve_settings(model))
        known = await asyncio.to_thread(context.store.get, model)
        fields -= set(THINKING) - set(thinking_parameters_of(known))
    except ModelError:  # there is none yet
        default = {}
    return context.fragments.render(
        "_chat_settings.html",
        chat_id=chat_id,
        model=model,
        values=values,
        errors={field.name: errors[field.name] for field in FIELDS if field.name in errors},
        usual=default,
        fields=[field for field in FIELDS if field.name in fields],
        kept={name: values[name] for name in THINKING if name not in fields and values.get(name)},
    )
