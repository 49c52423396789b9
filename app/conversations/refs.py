"""References to what stands in a chat: a user's message, an answer with its prompt."""

from __future__ import annotations

from dataclasses import dataclass


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
