"""Personas: the page that manages them; and the library as a file, with the saved prompts."""

from __future__ import annotations

from collections.abc import Mapping

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.conversations import personas as rules
from app.conversations.library_files import MAX_FILE_BYTES
from app.conversations.personas import starters_of, starters_to_json
from app.conversations.settings import parse, parse_stored, sanitize_text, written
from app.db.personas import Persona, PersonaValues
from app.errors import InvalidMessage, InvalidSettings
from app.models.parameters import SETTINGS
from app.web.context import server_context
from app.web.render.chat import models_ready
from app.web.render.frame import render_page
from app.web.security.identity import current_user

blueprint = Blueprint("personas", __name__)
DONE = {"saved": "Persona saved.", "deleted": "Persona deleted."}
FIELDS = tuple(row for name, row in SETTINGS.items() if name != "system_prompt")


@blueprint.get("/personas")
async def page() -> Response:
    return await _page()


@blueprint.get("/personas/<int:persona_id>")
async def edit(persona_id: int) -> Response:
    return await _page(persona_id)


@blueprint.post("/personas")
async def add() -> Response | WerkzeugResponse:
    try:
        values = _values((await request.form).to_dict(), None)
        await server_context().personas.add(current_user(), values, await _picture())
    except InvalidSettings as error:
        return await _page(error=error)
    return redirect("/personas?done=saved", 303)


@blueprint.post("/personas/<int:persona_id>")
async def change(persona_id: int) -> Response | WerkzeugResponse:
    context, user_id = server_context(), current_user()
    form = (await request.form).to_dict()
    before = await context.personas.get(user_id, persona_id)
    picture = None if "no_picture" in form else await _picture()
    try:
        await context.personas.change(user_id, persona_id, _values(form, before), picture)
    except InvalidSettings as error:
        return await _page(persona_id, error)
    return redirect("/personas?done=saved", 303)


@blueprint.post("/personas/<int:persona_id>/delete")
async def remove(persona_id: int) -> WerkzeugResponse:
    await server_context().personas.remove(current_user(), persona_id)
    return redirect("/personas?done=deleted", 303)


@blueprint.get("/personas/<int:persona_id>/picture")
async def picture(persona_id: int) -> Response:
    data, kind = await server_context().personas.picture(current_user(), persona_id)
    response = Response(data, content_type=kind)
    response.headers["Cache-Control"] = "private, max-age=31536000"
    return response


@blueprint.get("/personas/<int:persona_id>/card.json")
async def card(persona_id: int) -> Response:
    """The persona as a card that other programs read."""
    return _file(await server_context().library_files.card(current_user(), persona_id), "card.json")


@blueprint.get("/library.json")
async def export() -> Response:
    """Export all prompts and personas, as an import takes them."""
    data = await server_context().library_files.export(current_user())
    return _file(data, "wick-library.json")


@blueprint.post("/library/import")
async def take_in() -> Response:
    """Take in an exported library, or a character card."""
    upload = (await request.files).get("file")
    try:
        data = upload.read(MAX_FILE_BYTES + 1) if upload is not None else b""
        if not data or len(data) > MAX_FILE_BYTES:
            raise InvalidMessage(f"Choose a file of up to {MAX_FILE_BYTES >> 20} MB.")
        report = await server_context().library_files.take_in(current_user(), data)
    except InvalidMessage as error:
        return await _page(problem=str(error))
    return await _page(done=report.sentence)


def _file(data: bytes, name: str) -> Response:
    response = Response(data, content_type="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


async def _picture() -> bytes:
    upload = (await request.files).get("picture")
    return b"" if upload is None else upload.read(rules.MAX_PICTURE_BYTES + 1)


def _values(form: Mapping[str, str], before: Persona | None) -> PersonaValues:
    """The persona in a form. Raises InvalidSettings."""
    stored = parse_stored(before.settings) if before is not None else None
    chosen = parse({**form, "system_prompt": ""}, rules.MAX_INSTRUCTION_CHARS, stored)
    return PersonaValues(
        name=form.get("name", ""),
        emoji=form.get("emoji", ""),
        instructions=form.get("instructions", ""),
        greeting=form.get("greeting", ""),
        model=form.get("model", ""),
        settings=chosen.to_json(),
        starters=starters_to_json(form.get("starters", "").splitlines()),
    )


async def _page(
    edited: int | None = None,
    error: InvalidSettings | None = None,
    *,
    done: str = "",
    problem: str = "",
) -> Response:
    """Render the list and a form: of the persona that is edited, else of a new one."""
    context, user_id = server_context(), current_user()
    persona = None if edited is None else await context.personas.get(user_id, edited)
    values = _shown(persona)
    if error is not None:
        form = await request.form
        values = {name: sanitize_text(form.get(name, "")) for name in values}
    return await render_page(
        "personas.html",
        status=error.status if error is not None else 400 if problem else 200,
        personas=await context.personas.all(user_id),
        edited=persona,
        values=values,
        fields=FIELDS,
        problems=error.problems if error else {},
        models=await models_ready(context),
        limits=rules,
        done=done or DONE.get(request.args.get("done", ""), ""),
        problem=problem,
    )


def _shown(persona: Persona | None) -> dict[str, str]:
    """The texts of the form's fields."""
    found = persona or PersonaValues(name="")
    texts = {name: getattr(found, name) for name in ("name", "emoji", "instructions", "greeting")}
    chosen = written(parse_stored(found.settings))
    settings = {row.name: chosen.get(row.name, "") for row in FIELDS}
    return texts | settings | {"model": found.model, "starters": "\n".join(starters_of(found))}
