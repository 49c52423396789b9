"""The page itself: a new chat at `/`, any other at its own address."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response, request

from app.web import sidebar
from app.web.chat_view import load_chat_view, missing_model, picker_options, suggested_models
from app.web.chats import get_chat_or_404
from app.web.identity import current_user
from app.web.row_ids import row_id
from app.web.sidebar import SidebarContext
from app.web.state import server_context

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
async def new_chat() -> Response:
    """A chat that begins to exist with its first message; until then no address leads to it."""
    return await _page(secrets.token_hex(8))


@blueprint.get("/chats/<chat_id>")
async def chat(chat_id: str) -> Response:
    """`?message=ID` shows a path through that message, as far up as it."""
    context, user_id = server_context(), current_user()
    await get_chat_or_404(chat_id)
    await context.chats.mark_read(user_id, chat_id)
    if (message_id := request.args.get("message", type=row_id)) is not None:
        await context.chats.show_path_to(user_id, chat_id, message_id)
    return await _page(chat_id, message_id)


async def _page(chat_id: str, sought: int | None = None) -> Response:
    """`sought`: a message that the shown part must hold."""
    context = server_context()
    user_id = current_user()
    version = context.hub.version  # before anything is read, so that a change meanwhile is noticed
    seen = await load_chat_view(context, user_id, chat_id, sought=sought)
    listed, until = await sidebar.render_all(SidebarContext(context, user_id, chat_id))
    options, chosen = await picker_options(context, seen.chat)
    lacking = await missing_model(context, options, chosen)
    offers = [] if lacking else await suggested_models(context)
    fragments = context.fragments
    html = fragments.render(
        "page.html",
        chat_id=chat_id,
        title=seen.title,
        version=version,
        client_id=secrets.token_hex(16),
        sidebar=listed,
        until=until or "",
        first=seen.first or "",
        messages=fragments.messages(seen.views, seen.divider, seen.earlier),
        picker=fragments.picker(chat_id, options, chosen),
        pulls=fragments.pulls(context.pulls.all(), offers),
        missing=fragments.missing(lacking),
        full=fragments.full(context.reserve.sentence),
        gauge=seen.gauge,
        is_shared=await context.shares.since(user_id, chat_id) is not None,
        actions=fragments.actions(
            chat_id=chat_id, is_running=seen.is_running, is_deleted=seen.is_deleted
        ),
    )
    return Response(html, content_type="text/html; charset=utf-8")
