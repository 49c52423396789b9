"""What is kept of chats behind the live contexts: in RAM, on its way to the disk, and there."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.inference.kv_choice import MIN_KEPT_TOKENS, CacheEntry
from app.inference.kv_disk import DiskSnapshots
from app.inference.kv_ram import RamSnapshots
from app.inference.kv_writer import SnapshotWriter
from app.inference.live import LiveContext
from app.inference.snapshot import Ids, Snapshot, SnapshotEntry, common_prefix

MAX_WRITE_SHARE = 2
"""What waits to be written takes at most this part of what snapshots in memory may take."""
MIN_WRITTEN_TOKENS = 16
"""Tokens that the disk lacks of a chat that has a snapshot there already; fewer can wait."""


class SnapshotTiers:
    """Snapshots in RAM, and behind them those of `disk`, if there is one. Any thread may call.

    ram_budget: bytes in memory. write_behind, idle: see KvWriter.
    """

    def __init__(
        self,
        ram_budget: int,
        disk: DiskSnapshots | None,
        write_behind: Callable[[], int],
        idle: float,
    ) -> None:
        self._ram = RamSnapshots(ram_budget)
        self._disk = disk
        limit = ram_budget // MAX_WRITE_SHARE
        self._writer = SnapshotWriter(disk, limit, write_behind, idle) if disk else None
        self._forgotten: set[str] = set()
        self._left: set[str] = set()
        self._lock = threading.Lock()

    @property
    def has_disk(self) -> bool:
        return self._disk is not None

    def holders(self) -> list[CacheEntry]:
        entries = self._disk.entries() if self._disk else []
        return [*self.in_memory(), *entries]

    def in_memory(self) -> list[Snapshot]:
        """Those in RAM, and those on their way to the disk; oldest first."""
        pending = self._writer.pending() if self._writer else []
        with self._lock:
            return [*pending, *self._ram.all()]

    def touch(self, snapshot: Snapshot) -> None:
        """It is needed now, so it is the last to leave."""
        with self._lock:
            self._ram.touch(snapshot)

    def keep(self, snapshot: Snapshot) -> None:
        """In RAM; what has to leave for it goes to the disk."""
        with self._lock:
            if snapshot.chat in self._forgotten or snapshot.owner in self._left:
                return
            evicted = self._ram.put(snapshot)
        for old in evicted:
            self.enqueue_write(old)

    def load(self, entry: SnapshotEntry) -> Snapshot | None:
        """From the disk into RAM; None when it is gone."""
        snapshot = self._disk.load(entry) if self._disk else None
        if snapshot is not None:
            self.keep(snapshot)
        return snapshot

    def save(self, snapshot: Snapshot) -> bool:
        """Write it at once. Whether it is on the disk now."""
        return self._disk is not None and self._disk.save(snapshot)

    def enqueue_write(self, snapshot: Snapshot, *, whatever_waits: bool = False) -> None:
        """Write it soon, if it is worth it. `whatever_waits`: nothing is lost for it."""
        if self._writer and self.is_unwritten(snapshot.chat, snapshot.tokens):
            self._writer.enqueue(snapshot, whatever_waits=whatever_waits)

    def is_unwritten(self, chat: str, tokens: Ids) -> bool:
        """Whether the disk lacks so much of this chat that writing is worth it."""
        if (
            self._disk is None
            or not self._disk.is_open
            or not chat
            or tokens.size < MIN_KEPT_TOKENS
        ):
            return False
        entry = self._disk.find(chat)
        known = common_prefix(entry.tokens, tokens) if entry else 0
        return tokens.size - known >= MIN_WRITTEN_TOKENS

    def set_limits(self, ram_budget: int) -> None:
        """Keep no more bytes in memory from now on; what is too much goes to the disk."""
        with self._lock:
            evicted = self._ram.set_limits(ram_budget)
        if self._writer:
            self._writer.set_limits(ram_budget // MAX_WRITE_SHARE)
        for old in evicted:  # they had their memory before: each gives it back when it is written
            self.enqueue_write(old, whatever_waits=True)

    def delete(self, chat: str, owner: str) -> None:
        """Drop all there is of a chat, or what memory holds of a person, and keep nothing of it
        again; of an empty name nothing is."""
        with self._lock:
            self._forgotten |= {chat} - {""}
            self._left |= {owner} - {""}
            self._ram.delete(chat, owner)
        if chat and self._disk and self._writer:
            self._writer.discard(chat)
            self._disk.delete(chat)

    def is_deleted(self, held: LiveContext) -> bool:
        with self._lock:
            return held.chat in self._forgotten or held.owner in self._left

    def wake_writer(self) -> None:
        """Something has ended: after a while of silence there may be something to write."""
        if self._writer:
            self._writer.wake()

    def close(self) -> None:
        """Nothing more is written in the background; what is being written goes on."""
        if self._writer:
            self._writer.close()
