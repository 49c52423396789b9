"""How full the model's window is, and what leaves it first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.chats.context import first_in_context, without_failed
from app.store.messages import Message


@dataclass(frozen=True, slots=True)
class ContextUsage:
    """After the last answer of a path. used of `size` tokens; unseen: how many messages the model
    no longer sees; next_out: the question that leaves first when there is no room for more, with
    its answers, or None when only the newest is left.
    """

    used: int
    size: int
    dropped: int
    next_to_drop: Message | None

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.used / self.size))


def context_usage(path: Sequence[Message]) -> ContextUsage | None:
    """None until an answer on this path has ended and was measured."""
    for place in range(len(path) - 1, -1, -1):
        answer = path[place]
        is_answer = answer.role == "assistant" and answer.status != "queued"
        if is_answer and answer.context_length and answer.prompt_tokens:
            return _measured(path[: place + 1], answer, answer.context_length)
    return None


def _measured(path: Sequence[Message], answer: Message, size: int) -> ContextUsage:
    top = first_in_context(path[:-1], answer.dropped)
    begin = next((i for i, message in enumerate(path) if message.id == top), 0)
    questions = [m for m in without_failed(path[begin:]) if m.role == "user"]
    return ContextUsage(
        used=(answer.prompt_tokens or 0) + (answer.completion_tokens or 0),
        size=size,
        dropped=begin,
        next_to_drop=questions[0] if len(questions) > 1 else None,
    )
