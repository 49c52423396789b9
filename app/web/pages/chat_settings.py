"""The settings of one chat: the dialog, and what a person puts into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quart import Blueprint, Response, request

from app.conversations.settings import NUMBERS, ChatSettings, GenerationSettings, parse, written
from app.errors import InvalidSettings, ModelError
from app.web.context import server_context
from app.web.pages.model_settings import SAMPLING
from app.web.render.chat import picker_options
from app.web.security.identity import current_user

blueprint = Blueprint("chat_settings", __name__)


@dataclass(frozen=True, slots=True)
class SettingField:
    """One field of the form; with `rows` it takes several lines."""

    name: str
    label: str
    help: str
    rows: int = 0

    @property
    def is_whole(self) -> bool:
        return self.name in NUMBERS and NUMBERS[self.name].is_whole


FIELDS: Final = (
    SettingField(
        "system_prompt",
        "System prompt",
        "What the model is told before this chat: who it is, how it should answer.",
        rows=4,
    ),
    *(SettingField(number.name, number.label, number.help) for number in SAMPLING),
    SettingField(
        "max_tokens", "Maximum length", "Answer stops after this many tokens; you can continue it."
    ),
    SettingField(
        "context_length",
        "Context size",
        "How many tokens of this chat the model sees at once. Fewer are quicker to read.",
    ),
    SettingField(
        "stop",
        "Stop strings",
        r"Stop when the model writes any of these. One per line; \n is a line break, \s a space, "
        r"\\ a backslash.",
        rows=2,
    ),
)


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
    """What an empty field means, to stand in it."""
    sampling = default.sampling
    return {
        "system_prompt": default.system_prompt,
        "temperature": f"{sampling.temperature:g}",
        "top_p": f"{sampling.top_p:g}",
        "top_k": f"{sampling.top_k}",
        "min_p": f"{sampling.min_p:g}",
        "repetition_penalty": f"{sampling.repetition_penalty:g}",
        "seed": "any" if sampling.seed is None else f"{sampling.seed}",
        "max_tokens": f"{default.max_tokens}",
        "context_length": f"{default.context_length or ''}",
    }


async def _form(chat_id: str, values: Mapping[str, str], errors: Mapping[str, str]) -> str:
    context = server_context()
    _, model = await picker_options(context, await context.chats.get(current_user(), chat_id))
    try:
        default = default_texts(context.answers.resolve_settings(model))
    except ModelError:  # there is none yet
        default = {}
    return context.fragments.render(
        "_chat_settings.html",
        chat_id=chat_id,
        model=model,
        values=values,
        errors={field.name: errors[field.name] for field in FIELDS if field.name in errors},
        usual=default,
        fields=FIELDS,
    )
