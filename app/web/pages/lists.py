"""Pages of chats that were put away: the archive and the trash."""

from __future__ import annotations

from quart import Blueprint, Response, request

from app.conversations.trash import RETENTION_SECONDS, TRASH_DAYS
from app.db.chat_lists import Cursor, ListName
from app.db.chats import Chat
from app.web.context import server_context
from app.web.render.sidebar import day_of
from app.web.security.identity import current_user

# Pages of chats that were put away, with more lines as one scrolls: the archive and the trash.


async def render_chat_list(name: ListName, page: str, lines: str, **values: object) -> Response:
    """The template `page`, or with `?after=` and for its own script only more of its `lines`."""
    context = server_context()
    after = Cursor.parse(request.args.get("after", ""))
    chats, more = await context.chats.page(current_user(), name, after)
    html = context.fragments.render(lines, chats=chats, more=more or "", **values)
    if not request.headers.get("HX-Request"):
        html = context.fragments.render(page, lines=html, is_empty=not chats, **values)
    return Response(html, content_type="text/html; charset=utf-8")


# The page of chats that were put away but are to stay.


archive_blueprint = Blueprint("archive", __name__, url_prefix="/archive")


@archive_blueprint.get("")
async def archive_page() -> Response:
    return await render_chat_list("archived", "archive.html", "_archived.html", day_of=day_of)


# The page of the trash: what lies in it, until when, and the ways out of it.


blueprint = Blueprint("trash", __name__, url_prefix="/trash")


def deletion_date(chat: Chat) -> str:
    """The day on which it is removed for good."""
    return day_of((chat.deleted_at or 0) + RETENTION_SECONDS)


@blueprint.get("")
async def page() -> Response:
    return await render_chat_list(
        "trashed", "trash.html", "_trashed.html", goes_on=deletion_date, trash_days=TRASH_DAYS
    )


@blueprint.delete("/<chat_id>")
async def remove(chat_id: str) -> str:
    """Delete one chat for good."""
    context = server_context()
    await context.trash.remove(current_user(), chat_id)
    notice = context.fragments.notice("Chat deleted permanently.")
    return notice + context.fragments.removed(f"#away-{chat_id}")


@blueprint.delete("")
async def empty() -> str:
    """Delete all chats in the trash for good."""
    context = server_context()
    count = await context.trash.empty(current_user())
    what = "1 chat" if count == 1 else f"{count:,} chats"
    notice = context.fragments.notice(f"{what} deleted permanently.")
    return notice + context.fragments.inside("#away", "")
