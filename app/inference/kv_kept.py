"""What is kept of chats behind the live contexts: in RAM, on its way to the disk, and there."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.inference.kv_choice import WORTH_KEEPING, Holder
from app.inference.kv_disk import DiskSnapshots
from app.inference.kv_ram import RamSnapshots
from app.inference.kv_writer import KvWriter
from app.inference.live import LiveContext
from app.inference.snapshot import Entry, Ids, Snapshot, common_prefix

WRITING_SHARE = 2
"""What waits to be written takes at most this part of what snapshots in memory may take."""
WORTH_WRITING = 16
"""Tokens that the disk lacks of a chat that has a snapshot there already; fewer can wait."""


class KeptSnapshots:
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
        limit = ram_budget // WRITING_SHARE
        self._writer = KvWriter(disk, limit, write_behind, idle) if disk else None
        self._forgotten: set[str] = set()
        self._left: set[str] = set()
        self._lock = threading.Lock()

    @property
    def has_disk(self) -> bool:
        return self._disk is not None

    def holders(self) -> list[Holder]:
        entries = self._disk.entries() if self._disk else []
        return [*self.in_memory(), *entries]

    def in_memory(self) -> list[Snapshot]:
        """Those in RAM, and those on their way to the disk; oldest first."""
        pending = self._writer.pending() if self._writer else []
        with self._lock:
            return [*pending, *self._ram.all()]

    def use(self, snapshot: Snapshot) -> None:
        """It is needed now, so it is the last to leave."""
        with self._lock:
            self._ram.use(snapshot)

    def keep(self, snapshot: Snapshot) -> None:
        """In RAM; what has to leave for it goes to the disk."""
        with self._lock:
            if snapshot.chat in self._forgotten or snapshot.owner in self._left:
                return
            evicted = self._ram.put(snapshot)
        for old in evicted:
            self.spill(old)

    def load(self, entry: Entry) -> Snapshot | None:
        """From the disk into RAM; None when it is gone."""
        snapshot = self._disk.load(entry) if self._disk else None
        if snapshot is not None:
            self.keep(snapshot)
        return snapshot

    def save(self, snapshot: Snapshot) -> bool:
        """Write it at once. Whether it is on the disk now."""
        return self._disk is not None and self._disk.save(snapshot)

    def spill(self, snapshot: Snapshot, *, whatever_waits: bool = False) -> None:
        """Write it soon, if it is worth it. `whatever_waits`: nothing is lost for it."""
        if self._writer and self.is_unwritten(snapshot.chat, snapshot.tokens):
            self._writer.spill(snapshot, whatever_waits=whatever_waits)

    def is_unwritten(self, chat: str, tokens: Ids) -> bool:
        """Whether the disk lacks so much of this chat that writing is worth it."""
        if self._disk is None or not self._disk.is_open or not chat or tokens.size < WORTH_KEEPING:
            return False
        entry = self._disk.find(chat)
        known = common_prefix(entry.tokens, tokens) if entry else 0
        return tokens.size - known >= WORTH_WRITING

    def bound(self, ram_budget: int) -> None:
        """Keep no more bytes in memory from now on; what is too much goes to the disk."""
        with self._lock:
            evicted = self._ram.bound(ram_budget)
        if self._writer:
            self._writer.bound(ram_budget // WRITING_SHARE)
        for old in evicted:  # they had their memory before: each gives it back when it is written
            self.spill(old, whatever_waits=True)

    def forget(self, chat: str, owner: str) -> None:
        """Drop all there is of a chat, or what memory holds of a person, and keep nothing of it
        again; of an empty name nothing is."""
        with self._lock:
            self._forgotten |= {chat} - {""}
            self._left |= {owner} - {""}
            self._ram.forget(chat, owner)
        if chat and self._disk and self._writer:
            self._writer.forget(chat)
            self._disk.forget(chat)

    def is_forgotten(self, held: LiveContext) -> bool:
        with self._lock:
            return held.chat in self._forgotten or held.owner in self._left

    def stir(self) -> None:
        """Something has ended: after a while of silence there may be something to write."""
        if self._writer:
            self._writer.stir()

    def close(self) -> None:
        """Nothing more is written in the background; what is being written goes on."""
        if self._writer:
            self._writer.close()
