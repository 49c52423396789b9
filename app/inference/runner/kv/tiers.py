"""Snapshots behind the live contexts: in RAM, on their way to the disk, and there.

A background thread brings them to the disk, when nobody waits for anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from app.inference.kv_files import is_memory_only
from app.inference.runner.kv.disk import DiskSnapshots
from app.inference.runner.kv.live import LiveContext
from app.inference.runner.kv.matching import MIN_KEPT_TOKENS, CacheEntry
from app.inference.runner.kv.snapshot import Ids, Snapshot, SnapshotEntry, common_prefix

log = logging.getLogger(__name__)

IDLE_SECONDS = 2.0
"""Seconds of silence before live states are written behind."""
BYTES_PER_SECOND = 64 << 20
"""Bytes a second that writing behind may come to, on average."""
MAX_WRITE_SHARE = 2
"""What waits to be written takes at most this part of what snapshots in memory may take."""
MIN_WRITTEN_TOKENS = 16
"""Tokens that the disk lacks of a chat that has a snapshot there already; fewer can wait."""


class SnapshotTiers:
    """Snapshots in RAM, and behind them those of `disk`, if there is one. Any thread may call.

    ram_budget: bytes in memory. write_behind, idle: see SnapshotWriter.
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
        """List those in RAM, and those on their way to the disk; oldest first."""
        pending = self._writer.pending() if self._writer else []
        with self._lock:
            return [*pending, *self._ram.all()]

    def touch(self, snapshot: Snapshot) -> None:
        """Make it the last to leave: it is needed now."""
        with self._lock:
            self._ram.touch(snapshot)

    def keep(self, snapshot: Snapshot) -> None:
        """Keep it in RAM; what has to leave for it goes to the disk."""
        with self._lock:
            if snapshot.chat in self._forgotten or snapshot.owner in self._left:
                return
            evicted = self._ram.put(snapshot)
        for old in evicted:
            self.enqueue_write(old)

    def load(self, entry: SnapshotEntry) -> Snapshot | None:
        """Read it from the disk into RAM; None when it is gone."""
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
        """Tell whether the disk lacks so much of this chat that writing is worth it."""
        if (
            self._disk is None
            or not self._disk.is_open
            or not chat
            or is_memory_only(chat)
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
        """Drop all there is of a chat, or what memory holds of a user, and keep nothing of it
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
        """Note that something has ended: after a while of silence there may be something to
        write."""
        if self._writer:
            self._writer.wake()

    def close(self) -> None:
        """Stop writing in the background; what is being written goes on."""
        if self._writer:
            self._writer.close()


class RamSnapshots:
    """Snapshots of at most `budget` bytes. Not safe for threads: the pool's lock is held around
    every call."""

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
        """Drop what is of this chat, or this owner; of an empty name nothing is."""
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


class SnapshotWriter:
    """Writes what left memory, in its order; in between `write_behind`, when that is due.

    `write_behind` writes one live state and says how many bytes that were, 0 when there is
    nothing to write. What waits here is bounded by `limit` bytes: beyond it the oldest is lost.
    """

    def __init__(
        self, disk: DiskSnapshots, limit: int, write_behind: Callable[[], int], idle: float
    ) -> None:
        self._disk = disk
        self._limit = limit
        self._write_behind = write_behind
        self._idle = idle
        self._pending: deque[Snapshot] = deque()
        self._due: float | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kv writer", daemon=True)
        self._thread.start()

    def enqueue(self, snapshot: Snapshot, *, whatever_waits: bool = False) -> None:
        """Write this soon; without waiting. `whatever_waits`: nothing is lost for it."""
        with self._changed:
            self._pending.append(snapshot)
            while (
                not whatever_waits
                and len(self._pending) > 1
                and sum(s.size for s in self._pending) > self._limit
            ):
                self._pending.popleft()
            self._changed.notify_all()

    def set_limits(self, limit: int) -> None:
        """Let no more bytes wait from now on."""
        with self._changed:
            self._limit = limit

    def pending(self) -> list[Snapshot]:
        """List what is not yet on the disk, oldest first."""
        with self._changed:
            return list(self._pending)

    def discard(self, chat: str) -> None:
        with self._changed:
            for snapshot in [s for s in self._pending if s.chat == chat]:
                self._pending.remove(snapshot)

    def wake(self) -> None:
        """Note that something has ended: look again after a while of silence."""
        with self._changed:
            self._due = time.monotonic() + self._idle
            self._changed.notify_all()

    def close(self) -> None:
        """Takes up nothing more; what it is writing goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        _lower_priority()
        while self._wait():
            snapshot = next(iter(self.pending()), None)
            try:
                if snapshot is None:
                    self._write_one_behind()
                else:
                    self._disk.save(snapshot)
            except Exception:  # a cache must not end the runner
                log.exception("A snapshot could not be written")
            with self._changed:
                if snapshot is not None and snapshot in self._pending:
                    self._pending.remove(snapshot)

    def _write_one_behind(self) -> None:
        with self._changed:
            self._due = None
        if written := self._write_behind():
            with self._changed:
                self._due = time.monotonic() + written / BYTES_PER_SECOND

    def _wait(self) -> bool:
        """Wait until there is something to do; False when it is over."""
        with self._changed:
            while not self._closed and not self._pending:
                left = None if self._due is None else self._due - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            return not self._closed


def _lower_priority() -> None:
    """Tokens come first. Not further back, since this thread may hold a context's lock."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
