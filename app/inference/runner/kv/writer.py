"""The background thread that brings snapshots to the disk, when nobody waits for anything."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from app.inference.runner.kv.disk import DiskSnapshots
from app.inference.runner.kv.snapshot import Snapshot

log = logging.getLogger(__name__)

IDLE_SECONDS = 2.0
"""Seconds of silence before live states are written behind."""
BYTES_PER_SECOND = 64 << 20
"""Bytes a second that writing behind may come to, on average."""


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
        """What is not yet on the disk, oldest first."""
        with self._changed:
            return list(self._pending)

    def discard(self, chat: str) -> None:
        with self._changed:
            for snapshot in [s for s in self._pending if s.chat == chat]:
                self._pending.remove(snapshot)

    def wake(self) -> None:
        """Something has ended: look again after a while of silence."""
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
        """Until there is something to do; False when it is over."""
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
