"""`/api/v1/prompts`: a user's saved prompts."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.api import http
from app.conversations.saved_prompts import MAX_TEXT_CHARS, blanks_of
from app.db.saved_prompts import SavedPrompt
from app.web.context import server_context
from app.web.security.identity import current_user

blueprint = Blueprint("api_library", __name__, url_prefix="/api/v1")


class NewPrompt(msgspec.Struct, kw_only=True):
    """A prompt to save. name: as it is typed after a slash; text: blanks are {{words}}."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]


class PromptObject(msgspec.Struct, kw_only=True):
    """A saved prompt. blanks: the names of those in its text."""

    id: int
    name: str
    text: str
    blanks: list[str]
    updated_at: float
    object: Literal["prompt"] = "prompt"


class PromptList(msgspec.Struct):
    data: list[PromptObject]
    object: Literal["list"] = "list"


def _prompt(prompt: SavedPrompt) -> PromptObject:
    return PromptObject(
        id=prompt.id,
        name=prompt.name,
        text=prompt.text,
        blanks=blanks_of(prompt.text),
        updated_at=prompt.updated_at,
    )


@blueprint.get("/prompts")
async def list_prompts() -> Response:
    found = await server_context().saved_prompts.all(current_user())
    return http.json_response(PromptList([_prompt(one) for one in found]))


@blueprint.post("/prompts")
async def add_prompt() -> Response:
    body = await http.parse_body(NewPrompt)
    made = await server_context().saved_prompts.add(current_user(), body.name, body.text)
    return http.json_response(_prompt(made), status=201)


@blueprint.get("/prompts/<int:prompt_id>")
async def get_prompt(prompt_id: int) -> Response:
    return http.json_response(
        _prompt(await server_context().saved_prompts.get(current_user(), prompt_id))
    )


@blueprint.put("/prompts/<int:prompt_id>")
async def change_prompt(prompt_id: int) -> Response:
    body = await http.parse_body(NewPrompt)
    changed = await server_context().saved_prompts.change(
        current_user(), prompt_id, body.name, body.text
    )
    return http.json_response(_prompt(changed))


@blueprint.delete("/prompts/<int:prompt_id>")
async def remove_prompt(prompt_id: int) -> Response:
    await server_context().saved_prompts.remove(current_user(), prompt_id)
    return Response(status=204)
