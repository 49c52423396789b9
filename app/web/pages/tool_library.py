"""Prompts and resources of tool servers in the composer, beside saved prompts."""

from __future__ import annotations

from quart import Blueprint, request

from app.conversations.settings import sanitize_text
from app.web.context import server_context
from app.web.pages.attachments import render_chips
from app.web.render.markdown import escape_text
from app.web.security.identity import current_user

blueprint = Blueprint("tool_library", __name__, url_prefix="/tool-library/<int:server_id>")


@blueprint.get("/prompt")
async def use(server_id: int) -> str:
    """The text for the composer; of a prompt with blanks the form that asks for them."""
    context, user_id, name = server_context(), current_user(), request.args.get("name", "")
    prompt = await context.mcp_library.prompt(user_id, server_id, name)
    if not prompt.arguments:
        return await _filled(server_id, {})
    return context.fragments.render("_tool_prompt.html", server_id=server_id, prompt=prompt)


@blueprint.post("/prompt")
async def fill(server_id: int) -> str:
    """The text with what was written into its blanks: fields `blank0`, `blank1`, …"""
    form, name = await request.form, request.args.get("name", "")
    prompt = await server_context().mcp_library.prompt(current_user(), server_id, name)
    values = {
        blank.name: sanitize_text(form.get(f"blank{place}", "")).strip()
        for place, blank in enumerate(prompt.arguments)
    }
    return await _filled(server_id, values)


async def _filled(server_id: int, values: dict[str, str]) -> str:
    name = request.args.get("name", "")
    text = await server_context().mcp_library.fill(current_user(), server_id, name, values)
    return escape_text(sanitize_text(text))


@blueprint.post("/resource")
async def attach(server_id: int) -> str:
    """Attach a resource to the message that is being written: its chips."""
    context, user_id, uri = server_context(), current_user(), request.args.get("uri", "")
    is_temporary = "temporary" in request.args
    where = context.temporary.services.attachments if is_temporary else context.attachments
    files = await context.mcp_library.read(user_id, server_id, uri)
    return await render_chips([await where.add(user_id, one.name, one.data) for one in files])
