"""The page itself: a new chat at `/`, any other at its own address."""

from __future__ import annotations

import secrets

from quart import Blueprint, Response, request

from app.web import sidebar
from app.web.chat_view import look_at, missing_model, models_offered, picker_options
from app.web.chats import existing
from app.web.identity import current_user
from app.web.row_ids import row_id
from app.web.sidebar import Place
from app.web.state import state

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
async def new_chat() -> Response:
    """A chat that begins to exist with its first message; until then no address leads to it."""
    return await _page(secrets.token_hex(8))


@blueprint.get("/chats/<chat_id>")
async def chat(chat_id: str) -> Response:
    """`?message=ID` shows a path through that message, as far up as it."""
    here, user_id = state(), current_user()
    await existing(chat_id)
    await here.chats.opened(user_id, chat_id)
    if (message_id := request.args.get("message", type=row_id)) is not None:
        await here.chats.show(user_id, chat_id, message_id)
    return await _page(chat_id, message_id)


async def _page(chat_id: str, sought: int | None = None) -> Response:
    """`sought`: a message that the shown part must hold."""
    here = state()
    user_id = current_user()
    version = here.hub.version  # before anything is read, so that a change meanwhile is noticed
    seen = await look_at(here, user_id, chat_id, sought=sought)
    listed, until = await sidebar.whole(Place(here, user_id, chat_id))
    options, chosen = await picker_options(here, seen.chat)
    lacking = await missing_model(here, options, chosen)
    offers = [] if lacking else await models_offered(here)
    fragments = here.fragments
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
        pulls=fragments.pulls(here.pulls.all(), offers),
        missing=fragments.missing(lacking),
        full=fragments.full(here.reserve.sentence),
        gauge=seen.gauge,
        is_shared=await here.shares.since(user_id, chat_id) is not None,
        actions=fragments.actions(
            chat_id=chat_id, is_running=seen.is_running, is_deleted=seen.is_deleted
        ),
    )
    return Response(html, content_type="text/html; charset=utf-8")
