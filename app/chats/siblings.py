"""What stands beside a message: other wordings of a prompt, other answers to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.store.messages import Message


@dataclass(frozen=True, slots=True)
class Siblings:
    """A message's place among those beside it, itself included, oldest first.

    number: from 1 to `count`; before, after: the ids of its neighbours; newest: the id of the last.
    """

    number: int
    count: int
    before: int | None
    after: int | None
    newest: int


@dataclass(frozen=True, slots=True)
class SiblingIndex:
    """By the id of their parent, the messages of a chat that have others beside them."""

    by_parent: Mapping[int | None, Sequence[int]]

    def of(self, message: Message) -> Siblings:
        ids = self.by_parent.get(message.parent_id, ())
        if message.id not in ids:
            return Siblings(1, 1, None, None, message.id)
        at = ids.index(message.id)
        return Siblings(
            number=at + 1,
            count=len(ids),
            before=ids[at - 1] if at else None,
            after=ids[at + 1] if at + 1 < len(ids) else None,
            newest=ids[-1],
        )
