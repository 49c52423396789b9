"""The answers a chat still owes, in order: one is being made, further ones wait for it."""

from __future__ import annotations

from collections import deque

from app.chats.answer import AnswerRecorder


class ChatQueue:
    """By chat. A message that is sent while an answer runs waits here, and may be taken back."""

    def __init__(self) -> None:
        self._active: dict[str, AnswerRecorder] = {}
        self._pending: dict[str, deque[AnswerRecorder]] = {}

    def add(self, answer: AnswerRecorder) -> None:
        """At the end of its chat's line."""
        self._pending.setdefault(answer.stream.chat_id, deque()).append(answer)

    def activate_next(self, chat_id: str) -> AnswerRecorder | None:
        """The next answer, if the chat has one and none is being made; it is the active one now."""
        held = self._pending.get(chat_id)
        if not held or chat_id in self._active:
            return None
        answer = self._active[chat_id] = held.popleft()
        if not held:
            del self._pending[chat_id]
        return answer

    def deactivate(self, answer: AnswerRecorder) -> None:
        """It has ended, whether it was active or not."""
        chat_id = answer.stream.chat_id
        if self._active.get(chat_id) is answer:
            del self._active[chat_id]

    def active(self, chat_id: str) -> AnswerRecorder | None:
        return self._active.get(chat_id)

    def is_taken(self, chat_id: str) -> bool:
        """Whether the next one would have to wait."""
        return chat_id in self._active or chat_id in self._pending

    def remove(self, chat_id: str, answer_id: int) -> AnswerRecorder | None:
        """Take one out that still waits."""
        held = self._pending.get(chat_id, deque())
        for answer in held:
            if answer.stream.message_id == answer_id:
                held.remove(answer)
                return answer
        return None

    def requeue(self, answer: AnswerRecorder) -> None:
        """To the front of those that wait."""
        self._pending.setdefault(answer.stream.chat_id, deque()).appendleft(answer)

    def clear(self, chat_id: str) -> list[AnswerRecorder]:
        """Take out all that wait in a chat."""
        return list(self._pending.pop(chat_id, ()))

    def all(self) -> list[AnswerRecorder]:
        """Those that are being made and those that wait."""
        held = (answer for line in self._pending.values() for answer in line)
        return [*self._active.values(), *held]
