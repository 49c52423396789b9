"""What the templates show: plain values, made from stored rows and live streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from app.chats.streams import LiveAnswer, status_line
from app.store.messages import Message
from app.web.blocks import StreamedMarkdown, open_element
from app.web.controls import MessageActions, answer_stats, short_stats
from app.web.markdown import escape_text, render_markdown

RenderKey = tuple[str, bool, bool, MessageActions | None]


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message as shown. `is_live`: its text still grows, and `body` ends with what is open.

    text: as it was written; line: what is happening or how it ended, a few words; note: figures
    about a finished answer; may_return: its question can still be taken back; controls: what may
    be done with it, while it is written only the way to others; stored: as the database has it.
    """

    id: int
    chat_id: str
    role: str
    status: str
    is_live: bool
    text: str
    body: Markup
    status_text: str
    stats: str
    model: str
    can_withdraw: bool = False
    controls: MessageActions | None = None
    stored: Message | None = None

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """All that was measured of a finished answer, in words."""
        return answer_stats(self.stored) if self.stored and self.stats else ()

    @property
    def key(self) -> RenderKey:
        """Two views of one message with the same key differ at most in the text that grew."""
        return (self.status, self.is_live, self.can_withdraw, self.controls)


def present(
    message: Message,
    live: tuple[LiveAnswer, StreamedMarkdown] | None,
    controls: MessageActions | None = None,
) -> MessageView:
    """The stored message, or the live state of its answer where there is one."""
    if live is not None:
        return present_live(*live, controls)
    is_answer = message.role == "assistant"
    return MessageView(
        id=message.id,
        chat_id=message.chat_id,
        role=message.role,
        status=message.status,
        is_live=message.status == "queued",
        text=message.text,
        body=(
            render_markdown(message.text, message.id) if is_answer else escape_text(message.text)
        ),
        status_text=_ending(message),
        stats=short_stats(message) if is_answer else "",
        controls=controls,
        stored=message,
        model=message.model or "",
    )


def key_of(stream: LiveAnswer, controls: MessageActions | None) -> RenderKey:
    """The key of the view of an answer that runs."""
    return (stream.status, True, stream.is_pending, controls)


def present_live(
    stream: LiveAnswer, blocks: StreamedMarkdown, controls: MessageActions | None = None
) -> MessageView:
    """An answer that runs, as it is now, as far as its blocks were fed."""
    return MessageView(
        id=stream.message_id,
        chat_id=stream.chat_id,
        role="assistant",
        status=stream.status,
        is_live=True,
        text=stream.text,
        body=blocks.finished + open_element(stream.message_id, blocks.open),
        status_text=status_line(stream),
        stats="",
        model=stream.model,
        can_withdraw=stream.is_pending,
        controls=controls,
    )


def _ending(message: Message) -> str:
    if message.role == "user":
        return ""
    match message.status:
        case "stopped":
            return "Stopped"
        case "failed":
            return message.error or "This answer failed."
        case "interrupted":
            return f"Interrupted: {message.error or 'Wick was stopped.'}"
        case "queued":
            return "Waiting"
        case "done" if message.finish_reason == "length":
            return "Ended at the length limit"
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class ModelOption:
    """One line of the model picker. state: whether it can answer, after a load or a wait;
    leads_elsewhere: what is written to it leaves this machine."""

    name: str
    label: str
    state: Literal["here", "to get", "gone"] = "here"
    is_external: bool = False


@dataclass(frozen=True, slots=True)
class UnavailableModel:
    """The model that is chosen and cannot answer. size: bytes to fetch, 0 if it cannot be had;
    instead: the one that would answer if none were chosen."""

    name: str
    title: str
    size: int
    instead: ModelOption | None
