"""From stored messages to the turns that a model is to see."""

from __future__ import annotations

from collections.abc import Sequence

from app.models.model import Turn
from app.store.messages import Message


def turns_of(path: Sequence[Message]) -> tuple[Turn, ...]:
    """Oldest first. An answer without text is left out, and questions that then follow each other
    become one, because many chat templates insist that roles alternate."""
    turns: list[Turn] = []
    for message in path:
        if not message.text:
            continue
        if turns and turns[-1].role == message.role:
            merged = f"{turns.pop().content}\n\n{message.text}"
            turns.append(Turn(message.role, merged))
        else:
            turns.append(Turn(message.role, message.text))
    return tuple(turns)
