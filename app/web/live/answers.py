"""The outgoing side of a page that shows answers while they are written."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.conversations.answer_state import status_line
from app.conversations.hub import Subscription
from app.web.context import ServerContext
from app.web.live.sidebar import SidebarUpdates
from app.web.render.messages import (
    MessageHead,
    RenderKey,
    ShownAnswer,
    key_of,
    present_live,
    shown,
)

# Each frame is work for a browser on the same cores that make the tokens, so tokens are gathered:
# about 10 frames a second, fewer when many answers run.
FRAME_SECONDS = 0.1


@dataclass(slots=True)
class AnswersConnection:
    """The outgoing side of a page: its messages by id, and how far each running answer is on it."""

    context: ServerContext
    user_id: int
    chat_id: str
    subscription: Subscription
    sidebar: SidebarUpdates
    keys: dict[int, RenderKey] = field(default_factory=dict)
    heads: dict[int, MessageHead] = field(default_factory=dict)
    places: dict[int, ShownAnswer] = field(default_factory=dict)

    @property
    def pause(self) -> float:
        return FRAME_SECONDS * max(1, self.context.hub.running / 4)

    def _progress(self, message_id: int) -> str:
        """More of an answer that runs."""
        stream, fragments = self.context.hub.stream(message_id), self.context.fragments
        if stream is None or message_id not in self.keys:
            return ""
        blocks = self.context.renderers.blocks(stream)
        before = self.places.get(message_id)
        self.places[message_id] = now = shown(stream, blocks)
        controls = self.keys[message_id][-1]
        key = key_of(stream, controls)
        if before is None or before.blocks is not blocks or self.keys[message_id] != key:
            self.keys[message_id] = key
            asks = stream.is_asking and (before is None or before.calls != stream.calls)
            view = present_live(stream, blocks, controls, self.heads[message_id])
            frame = fragments.message(view, oob=True)
            return frame + (fragments.announcement(status_line(stream)) if asks else "")
        frame = ""
        if (now.thought, now.label) != (before.thought, before.label):
            more = stream.thought[before.thought :]
            frame = fragments.thought_update(message_id, more, now.label)
        frame += fragments.answer_update(message_id, blocks.update_since(before.cursor))
        return frame or fragments.line(stream)
