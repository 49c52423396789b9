"""Tools of a chat: which are on, and what its user says to each call."""

from __future__ import annotations

import itertools
from typing import Final

from quart import Blueprint, Response, request

from app.conversations.tool_calls import Decision
from app.errors import ChatError
from app.tools.tool import ToolContext
from app.web.context import server_context, services_of
from app.web.security.identity import current_user

blueprint = Blueprint("tools", __name__, url_prefix="/chats/<chat_id>")
DECISIONS: Final[dict[str, Decision]] = {"allow": "allow", "always": "always", "deny": "deny"}


@blueprint.get("/tools")
async def form(chat_id: str) -> str:
    """The dialog with all tools that this user may switch on here."""
    context, user_id = server_context(), current_user()
    await services_of(chat_id).chats.get(user_id, chat_id)
    offered = await context.toolbox.tools(ToolContext(user_id, chat_id))
    groups = itertools.groupby(offered.values(), lambda tool: tool.source)
    return context.fragments.render(
        "_tools.html",
        chat_id=chat_id,
        sources=[(source, list(tools)) for source, tools in groups],
        chosen=await services_of(chat_id).answers.tools.chosen.chosen(user_id, chat_id),
    )


@blueprint.post("/tools")
async def save(chat_id: str) -> str:
    """Switch on what is ticked, for new answers, and all else off."""
    context, user_id = server_context(), current_user()
    services = services_of(chat_id)
    await services.chats.get(user_id, chat_id)
    values = await request.form
    offered = await context.toolbox.tools(ToolContext(user_id, chat_id))
    on = await services.answers.tools.chosen.choose(
        *(user_id, chat_id, values.getlist("tool"), offered), forget=bool(values.get("ask"))
    )
    context.hub.chat_changed(user_id, chat_id)
    fragments = context.fragments
    button = fragments.render("_tools_button.html", chat_id=chat_id, count=len(on), oob=True)
    titles = [offered[name].title for name in on if name in offered]
    text = f"On in this chat: {', '.join(titles)}." if titles else "No tools are on in this chat."
    return fragments.closed_dialog() + button + fragments.notice(text, is_done=True)


@blueprint.post("/messages/<int:message_id>/calls/<int:number>")
async def decide(chat_id: str, message_id: int, number: int) -> Response:
    """Allow or deny a call."""
    decision = DECISIONS.get((await request.form).get("decision", ""))
    if decision is None:
        raise ChatError("Wick did not understand this request. Reload the page.")
    tools = services_of(chat_id).answers.tools
    await tools.decide(current_user(), message_id, number, decision)
    return Response(status=204)
