"""The answers a chat still owes, in order: one is being made, further ones wait for it."""

from __future__ import annotations

from collections import deque

from app.conversations.answer_recorder import AnswerRecorder
from app.conversations.answer_state import LiveAnswer


class ChatQueue:
    """Answers by chat. A message that is sent while one runs waits here; it can be withdrawn.

    Answers to the same prompt are active together.
    """

    def __init__(self) -> None:
        self._active: dict[str, list[AnswerRecorder]] = {}
        self._pending: dict[str, deque[AnswerRecorder]] = {}

    def add(self, answer: AnswerRecorder) -> None:
        """Add an answer to the end of its chat's queue."""
        self._pending.setdefault(answer.stream.chat_id, deque()).append(answer)

    def activate_next(self, chat_id: str) -> AnswerRecorder | None:
        """The next answer, if the chat has one and none is being made that it follows; it is an
        active one now."""
        held = self._pending.get(chat_id)
        if not held or self._must_wait(held[0].stream):
            return None
        answer = held.popleft()
        self._active.setdefault(chat_id, []).append(answer)
        if not held:
            del self._pending[chat_id]
        return answer

    def deactivate(self, answer: AnswerRecorder) -> None:
        """Forget an answer that has ended, whether it was active or not."""
        chat_id = answer.stream.chat_id
        if answer in (active := self._active.get(chat_id, [])):
            active.remove(answer)
        if not active:
            self._active.pop(chat_id, None)

    def active(self, chat_id: str) -> list[AnswerRecorder]:
        return [*self._active.get(chat_id, ())]

    def is_taken(self, stream: LiveAnswer) -> bool:
        """Tell whether this answer would have to wait for others of its chat."""
        return stream.chat_id in self._pending or self._must_wait(stream)

    def _must_wait(self, stream: LiveAnswer) -> bool:
        active = self._active.get(stream.chat_id, ())
        return not all(stream.is_beside(other.stream) for other in active)

    def remove(self, chat_id: str, answer_id: int) -> AnswerRecorder | None:
        """Take one out that still waits."""
        held = self._pending.get(chat_id, deque())
        for answer in held:
            if answer.stream.message_id == answer_id:
                held.remove(answer)
                return answer
        return None

    def requeue(self, answer: AnswerRecorder) -> None:
        """Put an answer back to the front of its chat's queue."""
        self._pending.setdefault(answer.stream.chat_id, deque()).appendleft(answer)

    def clear(self, chat_id: str) -> list[AnswerRecorder]:
        """Take out all that wait in a chat."""
        return list(self._pending.pop(chat_id, ()))

    def all(self) -> list[AnswerRecorder]:
        """List active and pending answers."""
        held = (answer for line in self._pending.values() for answer in line)
        return [*(answer for group in self._active.values() for answer in group), *held]
