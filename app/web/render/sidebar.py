"""The list of chats beside every chat.

It has two parts. The beginning (pinned chats, then the newest down to a row called `until`) is
rendered anew whenever something changes. What follows `until` came in pages as the user scrolled;
there only the chats that changed are replaced, taken out or put in, so a long way down is never
lost.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from app.conversations.chats import PAGE_CHATS
from app.db.chats import Chat, Cursor
from app.db.folders import Folder
from app.web.context import ServerContext
from app.web.render.dates import heading_of, to_local

MAX_FIRST_ROWS = 4 * PAGE_CHATS


@dataclass(frozen=True, slots=True)
class ChatGroup:
    """The chats of one day or month."""

    heading: str
    chats: list[Chat]


@dataclass(frozen=True, slots=True)
class FolderGroup:
    """A folder with the chats that it shows."""

    folder: Folder
    chats: list[Chat]


@dataclass(frozen=True, slots=True)
class SidebarContext:
    """A list of chats: its user, the chat beside it, and where its beginning ends."""

    context: ServerContext
    user_id: int
    chat_id: str
    until: Cursor | None = None


async def render_all(sidebar: SidebarContext) -> tuple[str, Cursor | None]:
    """The list anew with its first page only, and where its beginning ends."""
    chats, until = await sidebar.context.chats.page(sidebar.user_id, "loose")
    inside = _render(
        sidebar, "_sidebar.html", beginning=await _render_top(sidebar, chats), until=until or ""
    )
    return inside, until


async def update(sidebar: SidebarContext, changed: set[str]) -> str | None:
    """Return what brings the list up to date as to these chats; None when it is to be made anew.

    While a name is being edited in it the beginning is left alone; it comes when that ends.
    """
    chats = await _first(sidebar)
    if chats is None:
        return None
    beginning = await _render_top(sidebar, chats)
    frame = sidebar.context.fragments.partial(
        "#chats-first:not(:has(form))", "innerHTML", beginning
    )
    return frame + await _render_changes(sidebar, changed, {chat.id for chat in chats})


async def row(sidebar: SidebarContext, chat_id: str) -> str:
    """Render the row after its name was edited in place, with focus back where it came from."""
    chats = await _first(sidebar)
    if chats is None:
        inside, _ = await render_all(sidebar)
        return sidebar.context.fragments.inside("#chats", inside)
    beginning = await _render_top(sidebar, chats, focus=chat_id)
    frame = sidebar.context.fragments.inside("#chats-first", beginning)
    shown = {chat.id for chat in chats}
    return frame + await _render_changes(sidebar, {chat_id}, shown, focus=chat_id)


async def more(sidebar: SidebarContext, after: Cursor) -> str:
    """The page that follows a row."""
    chats, cursor = await sidebar.context.chats.page(sidebar.user_id, "loose", after)
    groups = group_by_day(chats, _today())
    if groups and groups[0].heading == heading_of(after.at, _today()):
        groups[0] = ChatGroup("", groups[0].chats)
    return _render(sidebar, "_sidebar_page.html", groups=groups, after=cursor or "", focus="")


async def _first(sidebar: SidebarContext) -> list[Chat] | None:
    """The listed chats of the beginning; None when they have become too many for one."""
    if sidebar.until is None:
        chats, cursor = await sidebar.context.chats.page(sidebar.user_id, "loose")
        return None if cursor else chats
    chats = await sidebar.context.chats.list_until(sidebar.user_id, sidebar.until, MAX_FIRST_ROWS)
    return None if len(chats) == MAX_FIRST_ROWS else chats


async def _render_top(sidebar: SidebarContext, chats: Sequence[Chat], focus: str = "") -> str:
    pinned, after = await sidebar.context.chats.page(sidebar.user_id, "pinned")
    while after is not None:  # whoever pins so many wants to see them all
        page, after = await sidebar.context.chats.page(sidebar.user_id, "pinned", after)
        pinned += page
    groups = [ChatGroup("Pinned", pinned)] if pinned else []
    groups += group_by_day(chats, _today())
    folders = [
        FolderGroup(folder, await sidebar.context.folders.chats(sidebar.user_id, folder))
        for folder in await sidebar.context.folders.all(sidebar.user_id)
    ]
    return _render(sidebar, "_groups.html", groups=groups, folders=folders, focus=focus)


async def _render_changes(
    sidebar: SidebarContext, changed: set[str], shown: set[str], focus: str = ""
) -> str:
    """The changed chats among those that follow the beginning."""
    if sidebar.until is None or not changed:
        return ""
    listed = [
        chat
        for chat in await sidebar.context.chats.get_many(sidebar.user_id, changed - shown)
        if chat.deleted_at is None
        and chat.archived_at is None
        and chat.pinned_at is None
        and chat.folder_id is None
    ]
    fragments, frame = sidebar.context.fragments, ""
    for chat_id in changed - {chat.id for chat in listed}:
        frame += fragments.removed(f"#chats-more #c-{chat_id}")
    for chat in sorted(listed, key=lambda one: (one.updated_at, one.id), reverse=True):
        inside = _render(sidebar, "_row.html", chat=chat, focus=focus)
        frame += fragments.partial(f"#chats-more #c-{chat.id}", "outerHTML", inside)
        frame += await _insert_row(sidebar, chat, inside, changed)
    return frame


async def _insert_row(sidebar: SidebarContext, chat: Chat, row: str, changed: set[str]) -> str:
    """Put a chat that has come back before the next one that was there all the time.

    Nothing happens where it is on the page, and where the page does not reach as far down.
    """
    cursor, today = Cursor(chat.updated_at, chat.id), _today()
    partial = sidebar.context.fragments.partial
    before, after = await sidebar.context.chats.neighbours(sidebar.user_id, cursor, changed)
    heading = heading_of(chat.updated_at, today)
    lacking = f"#chats-more:not(:has(#c-{chat.id}))"
    if after is not None and heading_of(after.updated_at, today) == heading:
        return partial(f"{lacking} #c-{after.id}", "beforebegin", row)
    goes_on = before is not None and heading_of(before.updated_at, today) == heading
    group = ChatGroup("" if goes_on else heading, [chat])
    section = _render(sidebar, "_sidebar_page.html", groups=[group], after="", focus="")
    if after is not None:
        return partial(f"{lacking} section:has(#c-{after.id})", "beforebegin", section)
    return partial(f"{lacking}:not(:has(.more))", "beforeend", section)


def _render(sidebar: SidebarContext, template: str, **values: object) -> str:
    running = sidebar.context.hub.running_chats(sidebar.user_id)
    return sidebar.context.fragments.render(
        template, current=sidebar.chat_id, running=running, **values
    )


def _today() -> dt.date:
    return to_local(time.time()).date()


def group_by_day(chats: Sequence[Chat], today: dt.date) -> list[ChatGroup]:
    """Chats that come newest first, under headings."""
    groups = groupby(chats, lambda chat: heading_of(chat.updated_at, today))
    return [ChatGroup(heading, list(group)) for heading, group in groups]
