"""Snapshots in memory: least recently used goes first, counted in bytes."""

from __future__ import annotations

from collections import OrderedDict

from app.inference.snapshot import Snapshot, common_prefix


class RamSnapshots:
    """At most `budget` bytes. Not safe for threads: the pool's lock is held around every call."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self.size = 0

    def put(self, snapshot: Snapshot) -> list[Snapshot]:
        """Keep it as the newest, in place of older ones of its chat. What had to leave for it.

        Without effect when there is a newer one of its chat.
        """
        if any(old.chat == snapshot.chat != "" and old.used > snapshot.used for old in self.all()):
            return []
        for old in self.all():
            if _supersedes(snapshot, old):
                self.remove(old)
        self._snapshots[id(snapshot)] = snapshot
        self.size += snapshot.size
        return self._evict()

    def set_limits(self, budget: int) -> list[Snapshot]:
        """Keep no more bytes than that from now on. What had to leave for it."""
        self._budget = budget
        return self._evict()

    def _evict(self) -> list[Snapshot]:
        left = []
        while self.size > self._budget:
            left.append(next(iter(self._snapshots.values())))
            self.remove(left[-1])
        return left

    def touch(self, snapshot: Snapshot) -> None:
        if id(snapshot) in self._snapshots:
            self._snapshots.move_to_end(id(snapshot))

    def remove(self, snapshot: Snapshot) -> None:
        if self._snapshots.pop(id(snapshot), None) is not None:
            self.size -= snapshot.size

    def delete(self, chat: str, owner: str = "") -> None:
        """What is of this chat, or this owner; of an empty name nothing is."""
        for snapshot in self.all():
            if (chat and snapshot.chat == chat) or (owner and snapshot.owner == owner):
                self.remove(snapshot)

    def all(self) -> list[Snapshot]:
        """Least recently used first."""
        return list(self._snapshots.values())


def _supersedes(new: Snapshot, old: Snapshot) -> bool:
    if new.chat or old.chat:
        return new.chat == old.chat
    return common_prefix(old.tokens, new.tokens) == len(old.tokens)
