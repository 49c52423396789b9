"""A chat's read-only link: the dialog in which its owner makes and ends it, and what it shows."""

from __future__ import annotations

from dataclasses import replace

from quart import Blueprint, Response, request

from app.config import is_loopback
from app.web.base_path import public_url
from app.web.chat_view import look_at
from app.web.chats import existing
from app.web.entrance import for_everybody
from app.web.identity import current_user
from app.web.row_ids import row_id
from app.web.security import host_name
from app.web.sidebar import day_of
from app.web.state import state
from app.web.window import PART

blueprint = Blueprint("shares", __name__)


@blueprint.get("/chats/<chat_id>/share")
async def dialog(chat_id: str) -> str:
    await existing(chat_id)
    return await _dialog(chat_id)


@blueprint.post("/chats/<chat_id>/share")
async def share(chat_id: str) -> str:
    """The link is shown now and never again."""
    token = await state().shares.share(current_user(), chat_id)
    link = public_url(f"/shared/{token}")
    return await _dialog(chat_id, link) + mark(chat_id, is_shared=True)


@blueprint.delete("/chats/<chat_id>/share")
async def end(chat_id: str) -> str:
    await existing(chat_id)
    await state().shares.end(current_user(), chat_id)
    return await _dialog(chat_id) + mark(chat_id, is_shared=False)


def mark(chat_id: str, *, is_shared: bool) -> str:
    """What the chat's page says of it, if it is the one that asks."""
    if f"/chats/{chat_id}" not in request.headers.get("HX-Current-URL", ""):
        return ""
    inside = state().fragments.render("_shared.html", chat_id=chat_id, is_shared=is_shared)
    return f'<div hx-swap-oob="innerHTML:#shared">{inside}</div>'


@blueprint.get("/shared/<token>")
@for_everybody
async def page(token: str) -> Response:
    """The path that its owner sees now. Whoever has the link may look, and do nothing else."""
    here = state()
    chat = await here.shares.find(token)
    first = request.args.get("first", type=row_id)
    more = PART if first is not None else 0
    seen = await look_at(here, chat.user_id, chat.id, first, more=more)
    views = [replace(view, controls=None, may_return=False) for view in seen.views]
    html = here.fragments.render(
        "shared.html",
        title=seen.title,
        messages=views,
        earlier=seen.earlier,
        first=seen.first,
        token=token,
    )
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


async def _dialog(chat_id: str, link: str = "") -> str:
    here = state()
    since = await here.shares.since(current_user(), chat_id)
    return here.fragments.render(
        "_share.html",
        chat_id=chat_id,
        link=link,
        since=since,
        day_of=day_of,
        is_here_only=not here.settings.has_accounts,
        is_by_here=is_loopback(host_name(request.host)),
    )
