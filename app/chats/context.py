"""From stored messages to the turns that a model is to see."""

from __future__ import annotations

from collections.abc import Sequence

from app.models.model import Turn
from app.store.messages import Message


def to_turns(path: Sequence[Message]) -> tuple[Turn, ...]:
    """Oldest first. An answer without text is left out, and questions that then follow each other
    become one, because many chat templates insist that roles alternate. A question whose answer
    failed goes too: what no model could read once must not spoil what comes after it."""
    turns: list[Turn] = []
    for message in without_failed(path):
        if not message.text:
            continue
        if turns and turns[-1].role == message.role:
            merged = f"{turns.pop().content}\n\n{message.text}"
            turns.append(Turn(message.role, merged))
        else:
            turns.append(Turn(message.role, message.text))
    return tuple(turns)


def without_failed(path: Sequence[Message]) -> list[Message]:
    """The path without questions whose answers failed before they had any text."""
    failed = {m.parent_id for m in path if m.status == "failed" and not m.text}
    return [m for m in path if m.id not in failed]


def first_in_context(path: Sequence[Message], dropped: int) -> int | None:
    """The id of the first message that the model still sees, when it does not see all of them.

    `dropped` counts turns as `turns_of(path)` makes them.
    """
    if not dropped:
        return None
    turn, role = 0, None
    for message in without_failed(path):
        if message.text and message.role != role:
            turn, role = turn + 1, message.role
        if turn > dropped:
            return message.id
    return None
