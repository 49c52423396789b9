"""The page of the trash: what lies in it, until when, and the ways out of it."""

from __future__ import annotations

from quart import Blueprint, Response

from app.chats.trash import KEPT_SECONDS, TRASH_DAYS
from app.store.chats import Chat
from app.web.away import put_away
from app.web.identity import current_user
from app.web.sidebar import day_of
from app.web.state import state

blueprint = Blueprint("trash", __name__, url_prefix="/trash")


def goes_on(chat: Chat) -> str:
    """The day on which it is removed for good."""
    return day_of((chat.deleted_at or 0) + KEPT_SECONDS)


@blueprint.get("")
async def page() -> Response:
    return await put_away(
        "trashed", "trash.html", "_trashed.html", goes_on=goes_on, trash_days=TRASH_DAYS
    )


@blueprint.delete("/<chat_id>")
async def remove(chat_id: str) -> str:
    """One chat, for good."""
    here = state()
    await here.trash.remove(current_user(), chat_id)
    notice = here.fragments.notice("The chat is gone for good.")
    return f'{notice}<div hx-swap-oob="delete:#away-{chat_id}"></div>'


@blueprint.delete("")
async def empty() -> str:
    """All of it, for good."""
    here = state()
    count = await here.trash.empty(current_user())
    what = "1 chat is" if count == 1 else f"{count:,} chats are"
    notice = here.fragments.notice(f"{what} gone for good.")
    return f'{notice}<div hx-swap-oob="innerHTML:#away"></div>'
