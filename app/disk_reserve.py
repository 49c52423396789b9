"""Disk space kept free, and a reserve, so that chats can still be deleted when the disk is full.

What is large (files, imports, models, backups) is refused before less than `keep_free` bytes are
free, and snapshots of the KV cache are deleted then, those not used for longest first. Messages go
on. Deleting chats takes space: SQLite first writes changes to a log. So a file of RESERVE_BYTES
lies beside the database. When less than MIN_BYTES are free besides, caches are deleted, then that
file, and Wick accepts nothing new until there is space for all of it again.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Final

from app.errors import DiskFull

log = logging.getLogger(__name__)
FILE: Final = "reserve"
CACHES: Final = "kv"
"""A folder of what can be made again (`SettingsObject.kv_folder`)."""
RESERVE_BYTES: Final = 8 << 20
MIN_BYTES: Final = 4 << 20


class Reserve:
    """Reserve file in the data folder.

    keep_free: bytes of its disk that nothing large may take. is_low: there is no space for
    anything new.
    """

    def __init__(self, folder: Path, keep_free: int = 0) -> None:
        self._folder = folder
        self.keep_free = keep_free
        self._file = folder / FILE
        self._caches = folder / CACHES
        self.is_low = False

    @property
    def sentence(self) -> str:
        """Return the message for users while space is low; else empty."""
        if not self.is_low:
            return ""
        return (
            "The disk is full, so this Wick is read-only: nothing can be saved. Delete models, or "
            "chats permanently, or free up disk space."
        )

    def check(self) -> None:
        """Raises DiskFull while there is no space for anything new."""
        if self.is_low:
            raise DiskFull(self.sentence)

    def check_space(self, size: int = 0) -> None:
        """Raises DiskFull where `size` more bytes would leave less free than is kept. Blocks."""
        self.check()
        ensure_kept_free(self._folder, size, self.keep_free)

    def refresh(self) -> bool:
        """Update `is_low` and tell whether it changed. May write RESERVE_BYTES or delete caches."""
        before = self.is_low
        self._trim_caches()
        self.is_low = self._left() < MIN_BYTES
        if self.is_low and self._caches.exists():
            log.warning("The disk is full: deleting the cache in %s.", self._caches)
            shutil.rmtree(self._caches, ignore_errors=True)
            self.is_low = self._left() < MIN_BYTES
        if self.is_low:
            self._file.unlink(missing_ok=True)
        elif self._size() != RESERVE_BYTES:
            self._allocate()
        return self.is_low != before

    def _trim_caches(self) -> None:
        """Delete files of the caches, those not used for longest first, until enough is free."""
        if shutil.disk_usage(self._folder).free >= self.keep_free or not self._caches.is_dir():
            return
        files = [path for path in self._caches.rglob("*") if path.is_file()]
        found = [(_used_at(path), path) for path in files]
        for count, (_, path) in enumerate(sorted(found)):
            if shutil.disk_usage(self._folder).free >= self.keep_free:
                break
            if not count:
                log.warning("The disk is nearly full: deleting KV snapshots in %s.", self._caches)
            path.unlink(missing_ok=True)

    def _left(self) -> int:
        """Return the bytes that are free beside a whole reserve."""
        return shutil.disk_usage(self._folder).free + self._size() - RESERVE_BYTES

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0

    def _allocate(self) -> None:
        """Write the reserve file; a failure does no harm yet."""
        try:
            with self._file.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
                else:  # what is written must not be something that a file system leaves out
                    file.write(os.urandom(RESERVE_BYTES))
        except OSError as error:
            log.warning("Cannot reserve disk space in %s: %s.", self._file, error.strerror)
            if self._file.is_file():
                self._file.unlink(missing_ok=True)


def ensure_kept_free(folder: Path, size: int, keep_free: int) -> None:
    """Raises DiskFull where `size` more bytes on the disk of `folder` leave less than that free."""
    free = shutil.disk_usage(folder).free
    if keep_free and free - size < keep_free:
        raise DiskFull(
            f"The disk is nearly full: {free // 10**6:,} MB are free, and {keep_free // 10**6:,} MB"
            " of it stay free. Delete models or files, or free up disk space."
        )


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # deleted meanwhile
        return 0.0
