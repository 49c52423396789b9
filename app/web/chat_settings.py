"""The settings of one chat: the dialog, and what a person puts into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quart import Blueprint, Response, request

from app.chats.answer_settings import AnswerSettings
from app.chats.chat_settings import NUMBERS, ChatSettings, parse, written
from app.errors import InvalidSettings, ModelError
from app.web.chat_view import picker_options
from app.web.identity import current_user
from app.web.model_settings import SAMPLING
from app.web.state import state

blueprint = Blueprint("chat_settings", __name__)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the form; with `rows` it takes several lines."""

    name: str
    label: str
    help: str
    rows: int = 0

    @property
    def is_whole(self) -> bool:
        return self.name in NUMBERS and NUMBERS[self.name].is_whole


FIELDS: Final = (
    Field(
        "system_prompt",
        "System prompt",
        "What the model is told before this chat: who it is, how it should answer.",
        rows=4,
    ),
    *(Field(number.name, number.label, number.help) for number in SAMPLING),
    Field("max_tokens", "Longest answer", "Tokens after which an answer is cut. It can go on."),
    Field(
        "context_length",
        "Context size",
        "How many tokens of this chat the model sees at once. Fewer are quicker to read.",
    ),
    Field(
        "stop",
        "Stop strings",
        r"An answer ends where one of these begins. One a line; \n is a line break, \s a space, "
        r"\\ a backslash.",
        rows=2,
    ),
)


@blueprint.get("/chats/<chat_id>/settings")
async def form(chat_id: str) -> str:
    await state().chats.find(current_user(), chat_id)
    chosen = await state().chats.settings(current_user(), chat_id)
    return await _form(chat_id, written(chosen), {})


@blueprint.post("/chats/<chat_id>/settings")
async def save(chat_id: str) -> Response:
    """Nothing is left of the dialog when they are saved; else it says what is wrong."""
    here, user_id = state(), current_user()
    await here.chats.find(user_id, chat_id)
    values = (await request.form).to_dict()
    before = await here.chats.settings(user_id, chat_id)
    try:
        chosen = (
            ChatSettings()
            if "reset" in values
            else parse(values, here.settings.message_chars, before)
        )
    except InvalidSettings as error:
        html = await _form(chat_id, values, error.problems)
        return Response(html, status=error.status, content_type="text/html")
    await here.chats.choose_settings(user_id, chat_id, chosen)
    return Response(here.fragments.closed_dialog() + here.fragments.notice(""))


def usual_texts(usual: AnswerSettings) -> dict[str, str]:
    """What an empty field means, to stand in it."""
    sampling = usual.sampling
    return {
        "system_prompt": usual.system_prompt,
        "temperature": f"{sampling.temperature:g}",
        "top_p": f"{sampling.top_p:g}",
        "top_k": f"{sampling.top_k}",
        "min_p": f"{sampling.min_p:g}",
        "repetition_penalty": f"{sampling.repetition_penalty:g}",
        "seed": "any" if sampling.seed is None else f"{sampling.seed}",
        "max_tokens": f"{usual.max_tokens}",
        "context_length": f"{usual.context_length or ''}",
    }


async def _form(chat_id: str, values: Mapping[str, str], errors: Mapping[str, str]) -> str:
    here = state()
    _, model = await picker_options(here, await here.chats.find(current_user(), chat_id))
    try:
        usual = usual_texts(here.asking.settings_for(model))
    except ModelError:  # there is none yet
        usual = {}
    return here.fragments.render(
        "_chat_settings.html",
        chat_id=chat_id,
        model=model,
        values=values,
        errors={field.name: errors[field.name] for field in FIELDS if field.name in errors},
        usual=usual,
        fields=FIELDS,
    )
