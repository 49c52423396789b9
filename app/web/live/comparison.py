"""The socket of a page that compares the answers to one prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quart import Blueprint

from app.conversations.answer_state import MessageRef
from app.errors import ChatError
from app.web.context import server_context
from app.web.live.answers import AnswersConnection
from app.web.live.sidebar import SidebarUpdates, until_cursor
from app.web.render.comparison import Comparison, load_comparison
from app.web.render.messages import MessageHead
from app.web.security.identity import current_user
from app.web.socket import serve

blueprint = Blueprint("comparison_live", __name__)
ONLY_SHOWS: Final = "This page takes no messages. Write in the chat."


@dataclass(slots=True)
class ComparisonConnection(AnswersConnection):
    """One open page with the answers to `prompt_id`, all of which may grow. It only shows."""

    prompt_id: int = 0
    is_running: bool = False

    async def initial_frame(self, version: str) -> str:
        frame = await self._changes(is_whole=True)
        if version != self.context.hub.version:
            frame += await self.sidebar.frame(whole=True)
        return frame

    async def next_frame(self) -> str:
        subscription = self.subscription
        has_changes, subscription.messages = subscription.messages, False
        has_rows, subscription.sidebar = subscription.sidebar, False
        subscription.models = False
        frame = "".join(subscription.replies)
        subscription.replies.clear()
        if has_changes:
            frame += await self._changes()
        if has_rows:
            frame += await self.sidebar.frame()
        if has_changes and subscription.streams:
            subscription.notify(urgent=True)
        elif not has_changes:
            streams, subscription.streams = subscription.streams, set()
            frame += "".join(self._progress(message_id) for message_id in streams)
        return frame

    async def on_message(self, data: str | bytes) -> None:
        """Take nothing: whatever changes these answers is a request over HTTP."""
        self.subscription.replies.append(self.rejection_frame(data, ONLY_SHOWS))
        self.subscription.notify(urgent=True)

    def rejection_frame(self, data: str | bytes, sentence: str) -> str:
        return self.context.fragments.notice(sentence)

    async def _changes(self, *, is_whole: bool = False) -> str:
        """Columns of answers that have come, begun or ended."""
        try:
            ref = MessageRef(self.user_id, self.chat_id, self.prompt_id)
            seen = await load_comparison(self.context, ref)
        except ChatError:  # it was deleted, and the page stays as it is
            return ""
        fragments = self.context.fragments
        if is_whole or [answer.id for answer in seen.answers] != [*self.keys]:
            frame = fragments.inside("#log", fragments.columns(seen.answers))
        else:
            changed = [one for one in seen.answers if one.key != self.keys[one.id]]
            frame = "".join(fragments.column(one, oob=True) for one in changed)
            for one in seen.answers:
                if one not in changed and one.id in self.places:
                    seen.markers[one.id] = self.places[one.id]
        if seen.is_running != self.is_running:
            text = "The models are answering." if seen.is_running else "All answers have ended."
            frame += fragments.announcement(text)
        if is_whole or seen.is_running != self.is_running:
            frame += fragments.comparison_actions(self.chat_id, is_running=seen.is_running)
        self._keep(seen)
        return frame

    def _keep(self, seen: Comparison) -> None:
        self.keys = {one.id: one.key for one in seen.answers}
        self.heads = {one.id: MessageHead(one.model, one.sent_at) for one in seen.answers}
        self.places = dict(seen.markers)
        self.is_running = seen.is_running


@blueprint.websocket("/chats/<chat_id>/compare/<int:prompt_id>/live")
async def live(chat_id: str, prompt_id: int) -> None:
    context, user_id = server_context(), current_user()
    subscription = context.hub.subscribe(user_id, chat_id)
    updates = SidebarUpdates(context, subscription, until_cursor())
    page = ComparisonConnection(
        *(context, user_id, chat_id, subscription, updates), prompt_id=prompt_id
    )
    await serve(context.hub, page)
