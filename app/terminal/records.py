"""Records of chats, messages and models as the terminal has them, and answers in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import httpx
import msgspec

from app.conversations.answer_state import (
    LiveAnswer,
    describe_duration,
    describe_ending,
    status_line,
)
from app.conversations.settings import ChatSettings
from app.conversations.tool_calls import CallRecord
from app.documents.given import GivenDocument, describe_given
from app.errors import ChatNotFound, ModelNotFound, NotLoggedIn, PeerError, WickError


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """Model to choose. `state`: what choosing it means, in a word or two; sent_to: the other
    machines that are sent what is written to it; kind: `text` for chats, else made for search."""

    name: str
    title: str
    state: str = ""
    sent_to: Sequence[str] = ()
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class ToolSummary:
    """Tool that may be switched on in a chat."""

    name: str
    description: str
    on: bool


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """Chat in a list. `updated_at`: seconds since 1970."""

    id: str
    title: str
    model: str
    updated_at: float


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """Message of a chat. `status` is `queued` while the answer is on its way.

    dropped: how many of the oldest messages the model did not see; thought: what it reasoned before
    the answer, for `thought_seconds`.
    """

    id: int
    role: str
    text: str
    status: str = "done"
    model: str | None = None
    error: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    decode_seconds: float | None = None
    first_token_seconds: float | None = None
    dropped: int = 0
    thought: str | None = None
    thought_seconds: float | None = None
    attachments: Sequence[dict[str, Any]] = ()
    documents: Sequence[dict[str, Any]] = ()
    calls: Sequence[dict[str, Any]] = ()

    @property
    def is_running(self) -> bool:
        return self.status == "queued"


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """Saved prompt. `blanks`: the names of those in its text."""

    name: str
    text: str
    blanks: Sequence[str]


@dataclass(frozen=True, slots=True)
class PersonaRecord:
    """Persona. `settings`: with which its chats begin, its instructions among them; model: empty
    for any."""

    id: int
    name: str
    emoji: str
    instructions: str
    greeting: str
    model: str
    settings: ChatSettings
    starters: Sequence[str]

    @property
    def title(self) -> str:
        return f"{self.emoji} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class OpenChat:
    """A chat with the path that it shows, oldest first, and the persona it began with."""

    chat: ChatSummary
    path: Sequence[MessageRecord]
    persona: PersonaRecord | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """Hit of a search. `marks`: the words in the snippet, from the first character to the end."""

    chat_id: str
    title: str
    snippet: str
    marks: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Status before there is text, or something the user should know, as a sentence."""

    sentence: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer."""

    delta: str


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """More of what the model thinks before it answers."""

    delta: str


@dataclass(frozen=True, slots=True)
class CallsChanged:
    """Calls of the answer so far, as they stand now."""

    calls: Sequence[CallRecord]


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The answer as it is stored."""

    answer: MessageRecord


Event = StatusUpdate | ThoughtDelta | TextDelta | CallsChanged | AnswerEnded
ExportFormat = Literal["md", "json"]


# How an answer stands and how it ended, in words and figures.


def describe_wait(stream: LiveAnswer) -> str:
    """Describe what is happening; empty while the text that comes says enough."""
    is_writing = stream.status == "streaming" and not (stream.warning or stream.is_thinking)
    return "" if is_writing else status_line(stream)


def ending_note(answer: MessageRecord) -> str:
    """Say how an answer ended, when that needs a word, and the command that continues it."""
    only_thought = bool(answer.thought) and not answer.text
    ending = describe_ending(
        answer.status, answer.finish_reason, answer.error, only_thought=only_thought
    )
    is_long = answer.status == "done" and bool(ending)
    return f"{ending}; /continue continues it" if is_long else ending


def dropped_note(answer: MessageRecord) -> str:
    """Say how many messages the model does not see any more."""
    if not answer.dropped:
        return ""
    what = "message" if answer.dropped == 1 else f"{answer.dropped} messages"
    fit = "fits" if answer.dropped == 1 else "fit"
    return f"The oldest {what} no longer {fit} in the model's context."


def documents_note(answer: MessageRecord) -> str:
    """Say which documents the model was given; nothing of what a later version says of them."""
    try:
        return describe_given(msgspec.convert(answer.documents, tuple[GivenDocument, ...]))
    except msgspec.ValidationError:
        return ""


def parse_calls(values: Any) -> tuple[CallRecord, ...]:
    """Read the calls of an answer; nothing of what a later version says of them."""
    try:
        return msgspec.convert(values or [], tuple[CallRecord, ...])
    except msgspec.ValidationError:
        return ()


def thought_note(answer: MessageRecord) -> str:
    """Say how long the model thought; empty where that is not known."""
    if answer.thought_seconds is None:
        return ""
    return f"Thought for {describe_duration(max(1, round(answer.thought_seconds)))}"


def answer_stats(answer: MessageRecord, room: int = sys.maxsize) -> str:
    """Say, `smollm2-135m · 42 tokens · 78.3 tok/s · first after 0.21 s`, and what was cached.

    Of that comes what fits into `room` characters.
    """
    parts = [answer.model or ""]
    if answer.completion_tokens:
        plural = "s" if answer.completion_tokens != 1 else ""
        parts.append(f"{answer.completion_tokens:,} token{plural}")
    if answer.completion_tokens and answer.decode_seconds:
        parts.append(f"{answer.completion_tokens / answer.decode_seconds:.1f} tok/s")
    if answer.first_token_seconds is not None:
        parts.append(f"first after {answer.first_token_seconds:.2f} s")
    if answer.prompt_tokens:
        cached = answer.cached_tokens or 0
        parts.append(f"{cached:,} of {answer.prompt_tokens:,} cached")
    shown = " · ".join(part for part in parts if part)
    while len(shown) > room and " · " in shown:
        shown = shown.rpartition(" · ")[0]
    return shown


def to_dict(chat_id: str | None, answer: MessageRecord) -> dict[str, Any]:
    """An answer as values for JSON. `chat`: None when it was not kept."""
    return {
        "chat": chat_id,
        "message": answer.id if chat_id is not None else None,
        "model": answer.model,
        "thought": answer.thought,
        "text": answer.text,
        "status": answer.status,
        "finish_reason": answer.finish_reason,
        "error": answer.error,
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "cached_tokens": answer.cached_tokens,
            "completion_tokens": answer.completion_tokens,
        },
        "dropped": answer.dropped,
        "seconds": {"first_token": answer.first_token_seconds, "writing": answer.decode_seconds},
    }


# What a server answers, as the terminal's own values.


def error_of(response: httpx.Response, place: str) -> WickError:
    """Make an error of what the server said, in its own words."""
    try:
        error = response.json()["error"]
        sentence, code = str(error["message"]), error.get("code")
    except (ValueError, KeyError, TypeError):
        return PeerError(
            f"Unexpected answer from {place} (status {response.status_code}). Is it Wick?"
        )
    if response.status_code == 401:
        return NotLoggedIn(f"{sentence} Give an API key with --key or WICK_KEY.")
    if code == "model_not_found":
        return ModelNotFound(sentence)
    if response.status_code == 404:
        return ChatNotFound(sentence)
    return PeerError(sentence)


def parse_message(values: dict[str, Any]) -> MessageRecord:
    names = {field.name for field in fields(MessageRecord)}
    return MessageRecord(**{name: value for name, value in values.items() if name in names})
