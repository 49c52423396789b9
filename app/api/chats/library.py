"""`/api/v1/prompts` and `/api/v1/personas`: a user's library, and the files it comes in."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.api import http
from app.api.chats.schemas import SettingsObject, settings_object
from app.conversations.personas import (
    MAX_EMOJI_CHARS,
    MAX_GREETING_CHARS,
    MAX_INSTRUCTION_CHARS,
    MAX_NAME_CHARS,
    MAX_STARTER_CHARS,
    MAX_STARTERS,
    starters_of,
    starters_to_json,
)
from app.conversations.saved_prompts import MAX_TEXT_CHARS, blanks_of
from app.conversations.settings import parse_stored
from app.db.personas import Persona, PersonaValues
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
    await server_context().saved_prompts.get(current_user(), prompt_id)  # 404 before 400
    body = await http.parse_body(NewPrompt)
    changed = await server_context().saved_prompts.change(
        current_user(), prompt_id, body.name, body.text
    )
    return http.json_response(_prompt(changed))


@blueprint.delete("/prompts/<int:prompt_id>")
async def remove_prompt(prompt_id: int) -> Response:
    await server_context().saved_prompts.remove(current_user(), prompt_id)
    return Response(status=204)


Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Starter = Annotated[str, Meta(max_length=MAX_STARTER_CHARS)]


class NewPersona(msgspec.Struct, kw_only=True):
    """A persona to save. greeting: shown before the first message; model: null takes that of other
    new chats; settings: those with which a chat begins; starters: suggestions to begin with."""

    name: Name
    emoji: Annotated[str, Meta(max_length=MAX_EMOJI_CHARS)] = ""
    instructions: Annotated[str, Meta(max_length=MAX_INSTRUCTION_CHARS)] = ""
    greeting: Annotated[str, Meta(max_length=MAX_GREETING_CHARS)] = ""
    model: Annotated[str, Meta(max_length=200)] | None = None
    settings: SettingsObject | None = None
    starters: Annotated[list[Starter], Meta(max_length=MAX_STARTERS)] = msgspec.field(
        default_factory=list
    )

    def values(self) -> PersonaValues:
        settings = "{}" if self.settings is None else self.settings.overrides().to_json()
        return PersonaValues(
            name=self.name,
            emoji=self.emoji,
            instructions=self.instructions,
            greeting=self.greeting,
            model=self.model or "",
            settings=settings,
            starters=starters_to_json(self.starters),
        )


class PersonaObject(msgspec.Struct, kw_only=True):
    """A persona. has_picture: it has one instead of an emoji; the page shows and changes it."""

    id: int
    name: str
    emoji: str
    instructions: str
    greeting: str
    model: str | None
    settings: SettingsObject
    starters: list[str]
    has_picture: bool
    updated_at: float
    object: Literal["persona"] = "persona"


class PersonaList(msgspec.Struct):
    data: list[PersonaObject]
    object: Literal["list"] = "list"


class LibraryImport(msgspec.Struct):
    """Result of an import: how many entries were added, and how many left out."""

    prompts: int
    personas: int
    skipped: int
    object: Literal["import"] = "import"


def _persona(persona: Persona) -> PersonaObject:
    return PersonaObject(
        id=persona.id,
        name=persona.name,
        emoji=persona.emoji,
        instructions=persona.instructions,
        greeting=persona.greeting,
        model=persona.model or None,
        settings=settings_object(parse_stored(persona.settings)),
        starters=starters_of(persona),
        has_picture=persona.picture_type is not None,
        updated_at=persona.updated_at,
    )


@blueprint.get("/personas")
async def list_personas() -> Response:
    found = await server_context().personas.all(current_user())
    return http.json_response(PersonaList([_persona(one) for one in found]))


@blueprint.post("/personas")
async def add_persona() -> Response:
    body = await http.parse_body(NewPersona)
    made = await server_context().personas.add(current_user(), body.values())
    return http.json_response(_persona(made), status=201)


@blueprint.get("/personas/<int:persona_id>")
async def get_persona(persona_id: int) -> Response:
    return http.json_response(
        _persona(await server_context().personas.get(current_user(), persona_id))
    )


@blueprint.put("/personas/<int:persona_id>")
async def change_persona(persona_id: int) -> Response:
    """Change all but its picture."""
    await server_context().personas.get(current_user(), persona_id)  # 404 before 400
    body = await http.parse_body(NewPersona)
    changed = await server_context().personas.change(current_user(), persona_id, body.values())
    return http.json_response(_persona(changed))


@blueprint.delete("/personas/<int:persona_id>")
async def remove_persona(persona_id: int) -> Response:
    await server_context().personas.remove(current_user(), persona_id)
    return Response(status=204)


@blueprint.get("/library")
async def export_library() -> Response:
    """Export all prompts and personas, as an import takes them."""
    data = await server_context().library_files.export(current_user())
    return Response(data, content_type="application/json")


@blueprint.post("/library")
async def import_library() -> Response:
    """Import an export of Wick or a character card, which is the body."""
    data: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]
    report = await server_context().library_files.take_in(current_user(), data)
    return http.json_response(LibraryImport(report.prompts, report.personas, report.skipped))
