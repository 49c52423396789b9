"""A chat's read-only link: the dialog in which its owner makes and ends it, and what it shows."""

from __future__ import annotations

from dataclasses import replace

from quart import Blueprint, Response, request

from app.net import is_loopback
from app.web.addresses import public_url, row_id
from app.web.context import server_context
from app.web.pages.attachments import file_response, thumbnail_response
from app.web.pages.chat import get_chat_or_404
from app.web.render.chat import load_chat_view
from app.web.render.dates import day_of
from app.web.render.messages import PAGE_SIZE
from app.web.security.auth import public
from app.web.security.hosts import host_name
from app.web.security.identity import current_user

blueprint = Blueprint("shares", __name__)


@blueprint.get("/chats/<chat_id>/share")
async def dialog(chat_id: str) -> str:
    await get_chat_or_404(chat_id)
    return await _dialog(chat_id)


@blueprint.post("/chats/<chat_id>/share")
async def share(chat_id: str) -> str:
    """The link is shown now and never again."""
    token = await server_context().shares.share(current_user(), chat_id)
    link = public_url(f"/shared/{token}")
    return await _dialog(chat_id, link) + view_mark(chat_id, is_shared=True)


@blueprint.delete("/chats/<chat_id>/share")
async def end(chat_id: str) -> str:
    await get_chat_or_404(chat_id)
    await server_context().shares.end(current_user(), chat_id)
    return await _dialog(chat_id) + view_mark(chat_id, is_shared=False)


def view_mark(chat_id: str, *, is_shared: bool) -> str:
    """Return what the chat's page says of it, if it is the one that asks."""
    if f"/chats/{chat_id}" not in request.headers.get("HX-Current-URL", ""):
        return ""
    fragments = server_context().fragments
    mark = fragments.render("_shared.html", chat_id=chat_id, is_shared=is_shared)
    return fragments.inside("#shared", mark)


@blueprint.get("/shared/<token>")
@public
async def page(token: str) -> Response:
    """The path that its owner sees now. Whoever has the link may look, and do nothing else."""
    context = server_context()
    chat = await context.shares.find(token)
    first = request.args.get("first", type=row_id)
    more = PAGE_SIZE if first is not None else 0
    seen = await load_chat_view(context, chat.user_id, chat.id, first, more=more)
    views = [replace(view, controls=None, can_withdraw=False) for view in seen.views]
    html = context.fragments.render(
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


@blueprint.get("/shared/<token>/files/<int:attachment_id>")
@public
async def file(token: str, attachment_id: int) -> Response:
    """A file of a message in that chat, as text, or a picture."""
    user_id = await _owner_of_shown(token, attachment_id)
    return await file_response(user_id, attachment_id)


@blueprint.get("/shared/<token>/files/<int:attachment_id>/thumbnail")
@public
async def thumbnail(token: str, attachment_id: int) -> Response:
    """A picture of a message in that chat, made small."""
    user_id = await _owner_of_shown(token, attachment_id)
    return await thumbnail_response(user_id, attachment_id)


async def _owner_of_shown(token: str, attachment_id: int) -> int:
    """The user whose chat this is, which shows this file. Raises ChatNotFound,
    AttachmentNotFound."""
    context = server_context()
    chat = await context.shares.find(token)
    await context.attachments.shown_in(chat.user_id, chat.id, attachment_id)
    return chat.user_id


async def _dialog(chat_id: str, link: str = "") -> str:
    context = server_context()
    since = await context.shares.since(current_user(), chat_id)
    return context.fragments.render(
        "_share.html",
        chat_id=chat_id,
        link=link,
        since=since,
        day_of=day_of,
        is_here_only=not context.settings.has_accounts,
        is_by_here=is_loopback(host_name(request.host)),
    )
