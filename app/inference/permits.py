"""Thread permits: native threads in flight never exceed the budget, over ALL runners of a server.

GGML's threads spin at a barrier, so one thread too many on the machine costs a factor of a
hundred. A permit is an exclusive `flock` on one small file; the kernel gives it back when its
holder dies, however it dies.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

try:
    import fcntl
except ImportError:  # Windows: runners keep to the budget each for itself
    fcntl = None  # type: ignore[assignment,unused-ignore]

_POLL = 0.0005  # seconds


class Permits(Protocol):
    @contextmanager
    def acquire(self, wanted: int) -> Iterator[int]:
        """Waits for one permit, takes up to `wanted` if they are free, yields how many."""


class FilePermits:
    """The permits of one directory, shared by every process that opens it with the same budget.

    Locks belong to open files, so each thread has files of its own; any number of threads may
    call `acquire` of one object.
    """

    def __init__(
        self, directory: Path, budget: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._gate = directory / "gate"
        self._permits = [directory / f"permit-{number}" for number in range(max(1, budget))]
        self._sleep = sleep
        self._local = threading.local()

    @contextmanager
    def acquire(self, wanted: int) -> Iterator[int]:
        files = self._files()
        held: list[int] = []
        try:
            self._take_into(held, files, wanted)
            yield len(held)
        finally:
            for file in held:
                fcntl.flock(file, fcntl.LOCK_UN)

    def _take_into(self, held: list[int], files: list[int], wanted: int) -> None:
        gate, *permits = files
        # Who waits, waits inside the gate: a thread that lets go of a permit and wants it again
        # at once would otherwise win every time.
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            waited = False
            while not held:
                free = (file for file in permits if _try_lock(file))
                # Others are at work when we had to wait: then one thread is our share.
                for file in free:
                    held.append(file)
                    if waited or len(held) >= wanted:
                        break
                if not held:
                    # flock waits for one given file; we want whichever comes free first.
                    waited = True
                    self._sleep(_POLL)
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)

    def _files(self) -> list[int]:
        """This thread's own descriptors: the gate, then the permits."""
        files: list[int] | None = getattr(self._local, "files", None)
        if files is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            files = [os.open(path, flags, 0o600) for path in (self._gate, *self._permits)]
            self._local.files = files
        return files


class LocalPermits:
    """The same within one process, for tests, the bench and systems without `flock`."""

    def __init__(self, budget: int) -> None:
        self._free = max(1, budget)
        self._changed = threading.Condition()

    @contextmanager
    def acquire(self, wanted: int) -> Iterator[int]:
        with self._changed:
            waited = self._free < 1
            self._changed.wait_for(lambda: self._free >= 1)
            count = 1 if waited else max(1, min(wanted, self._free))
            self._free -= count
        try:
            yield count
        finally:
            with self._changed:
                self._free += count
                self._changed.notify()


def open_permits(directory: Path, budget: int) -> Permits:
    return FilePermits(directory, budget) if fcntl else LocalPermits(budget)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
