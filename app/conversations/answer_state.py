"""State of an answer: its reference, how it stands while it is made, and how it ended."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

from app.conversations.tool_calls import CallRecord, end_of

LiveStatus = Literal["queued", "loading", "prefill", "streaming", "calling"]


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A message of one of a user's chats."""

    user_id: int
    chat_id: str
    message_id: int


@dataclass(frozen=True, slots=True)
class AnswerRef:
    """An answer and its prompt, None for an answer that came without one in an import."""

    chat_id: str
    prompt_id: int | None
    answer_id: int


@dataclass(slots=True)
class LiveAnswer:
    """Answer that is being made, as all who watch it may see it. `text` only grows.

    position: place in the queue, 1 is next, in about `eta_seconds` if that is known, 0 is its turn;
    is_pending: it waits for the answer before it in its chat and may be taken back; prompt_done of
    prompt_total tokens are read, and `reading` says which page; dropped: how many of the oldest
    messages the model does not see; warning: something the user should know while it goes on;
    thought: what the model reasons before it answers, for `thought_seconds` so far; epoch: tells it
    from every other stream, also of the same answer; prompt_id: what it answers, perhaps at the
    same time as others; calls: the tools that it has called, which stand at their places in its
    text.
    """

    message_id: int
    chat_id: str
    user_id: int
    model: str
    status: LiveStatus = "queued"
    text: str = ""
    position: int = 0
    eta_seconds: float | None = None
    is_pending: bool = False
    detail: str = ""
    prompt_done: int = 0
    prompt_total: int = 0
    reading: str = ""
    dropped: int = 0
    warning: str = ""
    thought: str = ""
    thought_seconds: float = 0.0
    is_thinking: bool = False
    epoch: str = field(default_factory=lambda: secrets.token_hex(4))
    prompt_id: int | None = None
    calls: tuple[CallRecord, ...] = ()

    @property
    def is_asking(self) -> bool:
        """Tell whether it waits for its user to allow a call."""
        return self.status == "calling" and any(call.status == "asking" for call in self.calls)

    @property
    def text_place(self) -> int:
        """Characters of the text that stand before the last call."""
        return end_of(self.calls)[0]

    def is_beside(self, other: LiveAnswer) -> bool:
        """Tell whether both answer the same prompt, so that none has to wait for the other."""
        return self.prompt_id is not None and self.prompt_id == other.prompt_id


def status_line(stream: LiveAnswer) -> str:
    """Describe what is happening to an answer that runs."""
    if stream.warning:
        return stream.warning
    match stream.status:
        case "queued" if stream.is_pending:
            return "Waiting for the answer above"
        case "queued" if not stream.position:
            return "Starting"
        case "queued":
            place = "next" if stream.position == 1 else f"number {stream.position}"
            return f"Waiting: {place} in line{_format_eta(stream.eta_seconds)}"
        case "loading":
            return stream.detail
        case "prefill":
            percent = 100 * stream.prompt_done // max(stream.prompt_total, 1)
            if stream.reading:
                return stream.reading
            return f"Processing prompt: {percent} %"
        case "calling":
            return _calling_line(stream.calls)
        case "streaming":
            return "Thinking" if stream.is_thinking else "Writing"


def _calling_line(calls: tuple[CallRecord, ...]) -> str:
    """Say what the answer waits for: its user, or its tools."""
    asking = [call.title or call.name for call in calls if call.status == "asking"]
    if len(asking) > 1:
        return f"Waiting for you: {len(asking)} tools ask to run"
    if asking:
        return f"Waiting for you: may {asking[0]} run?"
    running = [call.title or call.name for call in calls if call.status == "running"]
    return f"Running {running[0]}" if running else "Reading the result"


def _format_eta(seconds: float | None) -> str:
    """An estimate as people say it: no more exact than it is."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f", about {max(1, round(seconds))} s"
    if seconds < 90:
        return f", about {5 * round(seconds / 5)} s"
    return f", about {round(seconds / 60)} min"


def is_resumable(status: str, finish_reason: str | None, begun: str | None) -> bool:
    """Tell whether an answer ended before its end. `begun`: its text so far, or its thought."""
    if not (begun or "").rstrip("\ufffd"):
        return False
    return status in {"stopped", "interrupted", "failed"} or (
        status == "done" and finish_reason == "length"
    )


def describe_ending(
    status: str, finish_reason: str | None, error: str | None, *, only_thought: bool = False
) -> str:
    """Describe how an answer ended, when that needs a word. only_thought: it has no text."""
    while_thinking = " while thinking" if only_thought else ""
    match status:
        case "stopped":
            return f"Stopped{while_thinking}"
        case "failed":
            return error or "This answer failed."
        case "interrupted":
            return f"Interrupted: {error or 'Wick was stopped.'}"
        case "done" if finish_reason == "length":
            return f"Ended at the length limit{while_thinking}"
        case _:
            return ""


def describe_duration(seconds: int) -> str:
    """Describe whole seconds: 12 s, 2 min 5 s."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
