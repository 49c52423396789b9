"""The list of chats beside an open page, and the socket of pages of which nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass

from quart import Blueprint, websocket

from app.conversations.hub import Subscription
from app.db.chats import Cursor
from app.web.context import ServerContext, server_context
from app.web.render import sidebar
from app.web.security.identity import current_user
from app.web.socket import serve

blueprint = Blueprint("sidebar_live", __name__)


@dataclass(slots=True)
class SidebarUpdates:
    """Updates of the list beside one page. `until`: where its beginning ends there."""

    context: ServerContext
    subscription: Subscription
    until: Cursor | None = None

    async def frame(self, *, whole: bool = False) -> str:
        """The beginning and the chats that changed, or all of it anew."""
        subscription = self.subscription
        changed, subscription.changed = subscription.changed, set()
        if not whole and not subscription.reordered:
            frame = await sidebar.update(self._list, changed)
            if frame is not None:
                return frame
        subscription.reordered = False
        inside, self.until = await sidebar.render_all(self._list)
        return self.context.fragments.inside("#chats", inside)

    @property
    def _list(self) -> sidebar.SidebarContext:
        page = self.subscription
        return sidebar.SidebarContext(self.context, page.user_id, page.chat_id, self.until)


@dataclass(slots=True)
class PageConnection:
    """An open page of which only the list of chats changes."""

    context: ServerContext
    subscription: Subscription
    sidebar: SidebarUpdates
    pause: float = 0.2

    async def initial_frame(self, version: str) -> str:
        return await self.sidebar.frame(whole=True) if version != self.context.hub.version else ""

    async def next_frame(self) -> str:
        subscription = self.subscription
        has_news = subscription.sidebar
        subscription.sidebar = subscription.models = subscription.messages = False
        return await self.sidebar.frame() if has_news else ""

    async def on_message(self, data: str | bytes) -> None:
        """Ignore it: these pages say nothing over their socket."""

    def rejection_frame(self, data: str | bytes, sentence: str) -> str:
        return self.context.fragments.notice(sentence)


@blueprint.websocket("/live")
async def live() -> None:
    context = server_context()
    subscription = context.hub.subscribe(current_user(), "")
    updates = SidebarUpdates(context, subscription, until_cursor())
    await serve(context.hub, PageConnection(context, subscription, updates))


def until_cursor() -> Cursor | None:
    """Return where the beginning of the list ends on the page that connects."""
    return Cursor.parse(websocket.args.get("until", ""))
