"""Snapshots on the disk: one file a chat, least recently used deleted first, over all models."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.inference.kv_files import SUFFIX, UNFINISHED, files, is_memory_only
from app.inference.runner.engines.engine import Engine
from app.inference.runner.kv.snapshot import (
    DamagedSnapshot,
    Snapshot,
    SnapshotEntry,
    SnapshotKey,
    Write,
    header_of,
    read_header,
    read_state,
    write_all,
)

log = logging.getLogger(__name__)

RESERVED_BYTES: Final = 16 << 20
"""Bytes of the disk that are left to others at least: the chats themselves matter more."""
PAUSE_SECONDS: Final = 60.0
"""Seconds without a further try after the disk refused one."""


class DiskSnapshots:
    """The snapshots of one model in `root`, which other models' runners use too.

    budget: bytes for all models together; keep_free: bytes of the disk that they may not take. Any
    thread may call; the index is in memory, and a file that somebody else deleted is only a miss.
    """

    def __init__(
        self,
        root: Path,
        key: SnapshotKey,
        engine: Engine,
        budget: int,
        *,
        keep_free: int = 0,
        write: Write = os.write,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._folder = root / key.model
        self._key = key
        self._engine = engine
        self._budget = budget
        self._keep_free = keep_free
        self._write = write
        self._clock = clock
        self._entries: dict[str, SnapshotEntry] = {}
        self._forgotten: set[str] = set()
        self._paused_until = 0.0
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._read_index()

    @property
    def is_open(self) -> bool:
        """False for a while after the disk refused a snapshot."""
        return self._clock() >= self._paused_until

    def entries(self) -> list[SnapshotEntry]:
        with self._lock:
            return list(self._entries.values())

    def find(self, chat: str) -> SnapshotEntry | None:
        with self._lock:
            return self._entries.get(chat)

    def load(self, entry: SnapshotEntry) -> Snapshot | None:
        """The whole snapshot, or None when it is gone or damaged (and then it is removed)."""
        try:
            state = read_state(entry)
            os.utime(entry.path)  # the least recently used file is the one not touched longest
        except DamagedSnapshot as error:
            self._remove(entry.path, str(error))
        except OSError as error:
            log.debug("The snapshot %s cannot be read: %s", entry.path, error)
        else:
            return Snapshot(
                entry.chat,
                entry.tokens,
                entry.token_runs,
                state,
                entry.used,
                is_on_disk=True,
                exact=entry.exact,
                cuts=entry.cuts,
                shared=entry.shared,
            )
        with self._lock:
            if self._entries.get(entry.chat) is entry:
                del self._entries[entry.chat]
        return None

    def save(self, snapshot: Snapshot) -> bool:
        """Write it in place of the chat's older one. Whether it is on the disk now.

        Never raises for what a disk can do. What belongs to no chat is not written: nobody could
        ask for its deletion. Neither is a temporary chat.
        """
        if not snapshot.chat or is_memory_only(snapshot.chat) or not self.is_open:
            return False
        with self._saving:
            try:
                snapshot.is_on_disk = self._save(snapshot)
            except OSError as error:
                log.warning("No snapshot of a chat was written: %s", error)
                self._paused_until = self._clock() + PAUSE_SECONDS
        return snapshot.is_on_disk

    def delete(self, chat: str) -> None:
        """Delete what there is of a chat, and never again write anything of it."""
        with self._lock:
            self._forgotten.add(chat)
        self._remove(self._path(chat), "")

    def _save(self, snapshot: Snapshot) -> bool:
        header, digest = header_of(snapshot, self._key)
        size = len(header) + snapshot.state.nbytes
        path = self._path(snapshot.chat)
        older = self.find(snapshot.chat)
        if size > self._budget or (older is not None and older.used > snapshot.used):
            return False
        self._prepare_folder()
        self._free_space(size, path)
        if self._lacking(size) > 0:
            raise OSError("the disk is almost full")
        temporary = path.with_suffix(UNFINISHED)
        try:
            self._write_file(temporary, header, snapshot)
            entry = SnapshotEntry(
                path,
                snapshot.chat,
                snapshot.tokens,
                snapshot.token_runs,
                len(header),
                snapshot.state.nbytes,
                digest,
                snapshot.used,
                snapshot.exact,
                snapshot.cuts,
                snapshot.shared,
            )
            with self._lock:
                if snapshot.chat in self._forgotten:
                    return False
                temporary.replace(path)
                self._entries[snapshot.chat] = entry
        except FileNotFoundError:
            return False  # its chat or its model was deleted in the meantime
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return True

    def _write_file(self, path: Path, header: bytes, snapshot: Snapshot) -> None:
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            write_all(descriptor, [header, snapshot.state.data], self._write)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _prepare_folder(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def _free_space(self, size: int, replaced: Path) -> None:
        """Delete the least recently used files, of any model, until `size` bytes more may stay."""
        found = []
        for path in files(self._root):
            with contextlib.suppress(OSError):  # another runner may delete it meanwhile
                status = path.lstat()
                if path != replaced:
                    found.append((status.st_mtime_ns, status.st_size, path))
        total = size + sum(bytes_ for _, bytes_, _ in found)
        surplus = max(total - self._budget, self._lacking(size))
        for _, bytes_, path in sorted(found):
            if surplus <= 0:
                return
            self._remove(path, "")
            surplus -= bytes_

    def _lacking(self, size: int) -> int:
        """Count the bytes that the disk lacks for a file of `size`."""
        reserved = max(RESERVED_BYTES, self._keep_free)
        return size + reserved - shutil.disk_usage(self._folder).free

    def _read_index(self) -> None:
        """Headers only. What is damaged or foreign, or was never finished, is removed."""
        try:
            self._prepare_folder()
            paths = list(self._folder.iterdir())
        except OSError as error:
            log.warning("No snapshots of chats are kept: %s", error)
            return
        for path in paths:
            try:
                if path.suffix != SUFFIX:
                    raise DamagedSnapshot("it was never finished")
                entry = read_header(path, self._key, self._engine)
                self._entries[entry.chat] = entry
            except (DamagedSnapshot, OSError) as error:
                self._remove(path, str(error))

    def _remove(self, path: Path, reason: str) -> None:
        """The file and what is known of it; `reason`: what is wrong with it, if anything is."""
        if reason:
            log.warning("The snapshot %s is removed: %s", path, reason)
        with self._lock:
            if path.parent == self._folder:
                self._entries.pop(path.stem, None)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("The snapshot %s cannot be removed: %s", path, error)

    def _path(self, chat: str) -> Path:
        return self._folder / f"{chat}{SUFFIX}"
