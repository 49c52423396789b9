"""The page of the trash: what lies in it, until when, and the ways out of it."""

from __future__ import annotations

from quart import Blueprint, Response

from app.chats.trash import RETENTION_SECONDS, TRASH_DAYS
from app.store.chats import Chat
from app.web.away import render_chat_list
from app.web.identity import current_user
from app.web.sidebar import day_of
from app.web.state import server_context

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
    """One chat, for good."""
    context = server_context()
    await context.trash.remove(current_user(), chat_id)
    notice = context.fragments.notice("The chat is gone for good.")
    return f'{notice}<div hx-swap-oob="delete:#away-{chat_id}"></div>'


@blueprint.delete("")
async def empty() -> str:
    """All of it, for good."""
    context = server_context()
    count = await context.trash.empty(current_user())
    what = "1 chat is" if count == 1 else f"{count:,} chats are"
    notice = context.fragments.notice(f"{what} gone for good.")
    return f'{notice}<div hx-swap-oob="innerHTML:#away"></div>'
