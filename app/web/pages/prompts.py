"""Saved prompts: the page that manages them, and the menu that a slash opens in the composer."""

from __future__ import annotations

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.conversations.saved_prompts import MAX_NAME_CHARS, MAX_TEXT_CHARS, blanks_of, fill
from app.conversations.settings import sanitize_text
from app.errors import InvalidEntry
from app.web.context import server_context
from app.web.render.frame import render_page
from app.web.render.markdown import escape_text
from app.web.security.identity import current_user

blueprint = Blueprint("prompts", __name__, url_prefix="/prompts")
DONE = {
    "saved": "Prompt saved.",
    "deleted": "Prompt deleted.",
}


@blueprint.get("")
async def page() -> Response:
    return await _page()


@blueprint.post("")
async def add() -> Response | WerkzeugResponse:
    form = await request.form
    try:
        await server_context().saved_prompts.add(
            current_user(), form.get("name", ""), form.get("text", "")
        )
    except InvalidEntry as error:
        return await _page(error=error)
    return redirect("/prompts?done=saved", 303)


@blueprint.get("/<int:prompt_id>")
async def edit(prompt_id: int) -> Response:
    return await _page(prompt_id)


@blueprint.post("/<int:prompt_id>")
async def change(prompt_id: int) -> Response | WerkzeugResponse:
    form = await request.form
    try:
        await server_context().saved_prompts.change(
            current_user(), prompt_id, form.get("name", ""), form.get("text", "")
        )
    except InvalidEntry as error:
        return await _page(prompt_id, error)
    return redirect("/prompts?done=saved", 303)


@blueprint.post("/<int:prompt_id>/delete")
async def remove(prompt_id: int) -> WerkzeugResponse:
    await server_context().saved_prompts.remove(current_user(), prompt_id)
    return redirect("/prompts?done=deleted", 303)


async def _page(edited: int | None = None, error: InvalidEntry | None = None) -> Response:
    """Render the list and a form: of the prompt that is edited, else of a new one."""
    context, user_id = server_context(), current_user()
    values = {"name": "", "text": ""}
    if edited is not None:
        found = await context.saved_prompts.get(user_id, edited)
        values = {"name": found.name, "text": found.text}
    if error is not None:
        form = await request.form
        values = {name: sanitize_text(form.get(name, "")) for name in values}
    return await render_page(
        "prompts.html",
        status=200 if error is None else error.status,
        prompts=await context.saved_prompts.all(user_id),
        edited=edited,
        values=values,
        problems=error.problems if error else {},
        longest_name=MAX_NAME_CHARS,
        longest=MAX_TEXT_CHARS,
        blanks_of=blanks_of,
        done=DONE.get(request.args.get("done", ""), ""),
    )


# In the composer.


@blueprint.get("/menu")
async def menu() -> str:
    """Render all prompts, and prompts and resources of tool servers; the page shows those that
    begin as what is typed. With `temporary` resources become files of a temporary chat."""
    context = server_context()
    return context.fragments.render(
        "_prompt_menu.html",
        prompts=await context.saved_prompts.all(current_user()),
        blanks_of=blanks_of,
        tool_offers=await context.mcp_library.offers(current_user()),
        is_temporary="temporary" in request.args,
    )


@blueprint.get("/<int:prompt_id>/use")
async def use(prompt_id: int) -> str:
    """The text for the composer; of a prompt with blanks the form that asks for them."""
    context = server_context()
    prompt = await context.saved_prompts.get(current_user(), prompt_id)
    blanks = blanks_of(prompt.text)
    if not blanks:
        return escape_text(prompt.text)
    return context.fragments.render("_prompt_blanks.html", prompt=prompt, blanks=blanks)


@blueprint.post("/<int:prompt_id>/use")
async def fill_blanks(prompt_id: int) -> str:
    """The text with what was written into its blanks: fields `blank0`, `blank1`, …"""
    form = await request.form
    prompt = await server_context().saved_prompts.get(current_user(), prompt_id)
    values = {
        name: sanitize_text(form.get(f"blank{place}", "")).strip()
        for place, name in enumerate(blanks_of(prompt.text))
    }
    return escape_text(fill(prompt.text, values))
