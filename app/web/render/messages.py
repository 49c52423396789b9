"""Messages for templates: views of rows and live answers, their actions, and pages of long
chats."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from markupsafe import Markup

from app.conversations.answer_state import (
    LiveAnswer,
    describe_duration,
    describe_ending,
    status_line,
)
from app.conversations.branches import can_continue
from app.conversations.history import SiblingIndex, Siblings
from app.conversations.settings import parse_generation_settings
from app.conversations.tool_calls import CallRecord, end_of, parse_calls
from app.db.attachments import Attachment
from app.db.messages import Message
from app.documents.given import decode_given, describe_given
from app.documents.sources import Sources, decode_sources, describe_sources
from app.web.render.calls import Step, steps
from app.web.render.markdown import read_aloud, render_markdown, render_prompt
from app.web.render.streaming import OpenBlock, RenderCursor, StreamedMarkdown

# What may be done with a message of a chat, and what is known of an answer, for its foot.


@dataclass(frozen=True, slots=True)
class MessageActions:
    """parent: the same for all that stand beside each other; can_continue: it was cut, and is
    the last; can_be_answered: a prompt that nothing follows."""

    parent: int
    siblings: Siblings
    can_continue: bool
    can_be_answered: bool


def message_actions(message: Message, forks: SiblingIndex, *, is_last: bool) -> MessageActions:
    return MessageActions(
        parent=message.parent_id or 0,
        siblings=forks.of(message),
        can_continue=is_last and can_continue(message),
        can_be_answered=is_last and message.role == "user",
    )


def short_stats(message: Message) -> str:
    """The line that is always there."""
    tokens, seconds = message.completion_tokens, message.decode_seconds
    if not tokens:
        return ""
    speed = f" · {tokens / seconds:.0f}/s" if seconds else ""
    return f"{tokens:,} {'token' if tokens == 1 else 'tokens'}{speed}"


def answer_stats(message: Message, model: str) -> tuple[tuple[str, str], ...]:
    """Return what was measured of an answer, in words, and its settings. model: its title."""
    tokens, seconds = message.completion_tokens, message.decode_seconds
    asked, cached = message.prompt_tokens, message.cached_tokens or 0
    if not tokens:
        return ()
    rows = [("Model", model)]
    speed = f", {tokens / seconds:.1f} per second" if seconds else ""
    rows.append(("Generated", f"{tokens:,} tokens{speed}"))
    if message.first_token_seconds is not None:
        rows.append(("Time to first token", f"{message.first_token_seconds:.1f} s"))
    if asked:
        rows.append(("Prompt", f"{asked:,} tokens ({cached:,} cached)"))
    if message.context_length:
        rows.append(("Context window", f"{message.context_length:,} tokens"))
    if (made_with := parse_generation_settings(message.settings)) is not None:
        sampling = made_with.sampling
        rows.append(("Temperature", f"{sampling.temperature:g}"))
        if sampling.seed is not None:
            rows.append(("Seed", f"{sampling.seed}"))
        if made_with.instruction:
            rows.append(("Instruction", made_with.instruction))
        if made_with.system_prompt:
            rows.append(
                ("System prompt", textwrap.shorten(made_with.system_prompt, 100, placeholder=" …"))
            )
    return tuple(rows)


# The part of a long chat that a page holds: its end, and as much before it as was asked for.


PAGE_SIZE = 16
"""Messages that are shown at first, and that each look further back adds."""
CONTEXT_ROWS = 4
"""Messages that stand before one that somebody comes to look at."""


def page_start(
    ids: Sequence[int], first: int | None = None, *, sought: int | None = None, more: int = 0
) -> int:
    """Return where in the path `ids` the shown part begins.

    It begins at `first` while that is on the path, `more` messages earlier when more are wanted,
    and early enough to hold `sought`.
    """
    start = max(0, len(ids) - PAGE_SIZE)
    if first in ids:
        start = ids.index(first)
    if sought in ids:
        start = min(start, ids.index(sought) - CONTEXT_ROWS)
    return max(0, start - more)


SPOKEN_CHARS = 2000
"""Characters of an answer that are read aloud when it has ended; the rest stands in the log."""
FOLDED_CHARS, FOLDED_LINES = 1500, 20
"""A longer prompt is folded until somebody wants to see all of it."""


# What the templates show: plain values, made from stored rows and live streams.


RenderKey = tuple[str, bool, bool, bool, tuple[CallRecord, ...], MessageActions | None]


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message as shown. `is_live`: its text still grows, and `open` follows `body`.

    text: as it was written; status_text: what is happening or how it ended, a few words; stats:
    figures about a finished answer; can_withdraw: its question can still be taken back; controls:
    what may be done with it, while it is written only the way to others; thought: what the model
    reasoned before, and `thought_label` for how long; stored: as the database has it; model: its
    title; sent_at: when it was asked for, in seconds since 1970; calls: the tools that it has
    called, and steps: what was written before them; `body` is what follows the last one.
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
    thought: str = ""
    thought_label: str = ""
    attachments: tuple[Attachment, ...] = ()
    stored: Message | None = None
    open: OpenBlock | None = None
    sent_at: float = 0.0
    documents: str = ""
    sources: Sources | None = None
    calls: tuple[CallRecord, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def tail(self) -> str:
        """The text after its last call."""
        return self.text[end_of(self.calls)[0] :]

    @property
    def sources_line(self) -> str:
        """Sentence on how much of the files that were searched the model was given."""
        return describe_sources(self.sources) if self.sources else ""

    @property
    def announcement(self) -> str:
        """Sentence for screen readers once the answer has ended: its words, or what went wrong."""
        match self.status:
            case "done" if self.text:
                words = read_aloud(self.body)
                return f"{self.model}: {textwrap.shorten(words, SPOKEN_CHARS, placeholder=' …')}"
            case "failed" | "interrupted":
                return self.status_text
            case _:
                return "The answer has ended."

    @property
    def is_long(self) -> bool:
        """Tell whether it is shown folded: a prompt of more than a screen."""
        if self.role != "user" or self.controls is None:
            return False
        return len(self.text) > FOLDED_CHARS or self.text.count("\n") > FOLDED_LINES

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """Measurements of a finished answer, in words."""
        return answer_stats(self.stored, self.model) if self.stored and self.stats else ()

    @property
    def key(self) -> RenderKey:
        """Two views of one message with the same key differ at most in the text that grew."""
        has_thought = bool(self.thought)
        state = (self.status, self.is_live, self.can_withdraw)
        return (*state, has_thought, self.calls, self.controls)


class MessageHead(NamedTuple):
    """Line over a message: the model that answers, by its title, and since when."""

    model: str = ""
    sent_at: float = 0.0


def present(
    message: Message,
    live: tuple[LiveAnswer, StreamedMarkdown] | None,
    controls: MessageActions | None = None,
    titles: Mapping[str, str] | None = None,
) -> MessageView:
    """The stored message, or the live state of its answer where there is one.

    titles: of models, by their names.
    """
    name = message.model or ""
    head = MessageHead((titles or {}).get(name, name), message.created_at)
    if live is not None:
        return present_live(*live, controls, head)
    is_answer = message.role == "assistant"
    calls = parse_calls(message.calls) if is_answer else ()
    tail = message.text[end_of(calls)[0] :]
    return MessageView(
        id=message.id,
        chat_id=message.chat_id,
        role=message.role,
        status=message.status,
        is_live=message.status == "queued",
        text=message.text,
        body=(render_markdown(tail, message.id) if is_answer else render_prompt(message.text)),
        status_text=_ending(message),
        stats=short_stats(message) if is_answer else "",
        controls=controls,
        thought=message.thought or "",
        thought_label=thought_label(message.thought_seconds),
        attachments=message.attachments,
        stored=message,
        model=head.model,
        sent_at=head.sent_at,
        documents=describe_given(decode_given(message.documents)),
        calls=calls,
        steps=steps(message.id, message.text, calls),
        sources=decode_sources(message.sources),
    )


def key_of(stream: LiveAnswer, controls: MessageActions | None) -> RenderKey:
    """The key of the view of an answer that runs."""
    state = (stream.status, True, stream.is_pending)
    return (*state, bool(stream.thought), stream.calls, controls)


def present_live(
    stream: LiveAnswer,
    blocks: StreamedMarkdown,
    controls: MessageActions | None = None,
    head: MessageHead | None = None,
) -> MessageView:
    """An answer that runs, as it is now, as far as its blocks were fed."""
    head = head or MessageHead(stream.model)
    return MessageView(
        id=stream.message_id,
        chat_id=stream.chat_id,
        role="assistant",
        status=stream.status,
        is_live=True,
        text=stream.text,
        body=blocks.finished,
        open=blocks.open,
        status_text=live_line(stream),
        stats="",
        model=head.model,
        sent_at=head.sent_at,
        can_withdraw=stream.is_pending,
        controls=controls,
        thought=stream.thought,
        thought_label=live_thought_label(stream),
        calls=stream.calls,
        steps=steps(stream.message_id, stream.text, stream.calls),
    )


class ShownAnswer(NamedTuple):
    """A running answer as a tab shows it: so much of its text, and so many characters of its
    thought under that label, and its calls."""

    blocks: StreamedMarkdown
    cursor: RenderCursor
    thought: int
    label: str
    calls: tuple[CallRecord, ...]


def shown(stream: LiveAnswer, blocks: StreamedMarkdown) -> ShownAnswer:
    """Return all of an answer that there is now, as far as its blocks were fed."""
    label = live_thought_label(stream)
    return ShownAnswer(blocks, blocks.cursor, len(stream.thought), label, stream.calls)


def live_line(stream: LiveAnswer) -> str:
    """Return the line under an answer that runs; none where its thought says the same above."""
    return "" if stream.is_thinking and stream.thought else status_line(stream)


def live_thought_label(stream: LiveAnswer) -> str:
    """Return what stands over the thought of an answer that runs."""
    return thought_label(stream.thought_seconds, is_thinking=stream.is_thinking)


def thought_label(seconds: float | None, *, is_thinking: bool = False) -> str:
    """Return what stands over a thought that takes, or took, so many seconds."""
    whole = round(seconds or 0)
    took = describe_duration(whole)
    if is_thinking:
        return f"Thinking… {took}" if whole else "Thinking…"
    return f"Thought for {took}" if whole else "Thought"


def _ending(message: Message) -> str:
    if message.role == "user":
        return ""
    if message.status == "queued":
        return "Waiting"
    only_thought = bool(message.thought) and not message.text
    return describe_ending(
        message.status, message.finish_reason, message.error, only_thought=only_thought
    )


@dataclass(frozen=True, slots=True)
class ModelOption:
    """One line of the model picker. label: all that is said of it; title: only what it is called;
    readiness: what choosing it means; state: whether it can answer, after a load or a wait;
    is_external: what is written to it leaves this machine; sees, hears: it takes pictures,
    or sound."""

    name: str
    label: str
    state: Literal["here", "to get", "gone"] = "here"
    is_external: bool = False
    title: str = ""
    readiness: str = ""
    sees: bool = False
    hears: bool = False


@dataclass(frozen=True, slots=True)
class UnavailableModel:
    """The model that is chosen and cannot answer. size: bytes to fetch, 0 if it cannot be had;
    instead: the one that would answer if none were chosen."""

    name: str
    title: str
    size: int
    instead: ModelOption | None
