"""Half-made models: hidden folders of the shelf, each held by whoever fills it."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from app.models.room import ensure_space, translate_disk_errors

log = logging.getLogger(__name__)

INCOMING: Final = ".incoming-"
REMOVED: Final = ".removed-"
STAGING_LOCK: Final = ".held"
"""A file in the folder that its user holds locked. The system lets go of it when a process dies."""
SETTLED_AFTER: Final = 60.0
"""Seconds without a change after which a folder that nobody holds is not one that just begins."""


@contextmanager
def incoming(root: Path, size: int) -> Iterator[Path]:
    """A folder on the disk of `root`, with room for `size` bytes, gone afterwards.

    Its user may rename it, once HELD is taken out. Raises DiskFull or ModelError.
    """
    with translate_disk_errors():
        root.mkdir(parents=True, exist_ok=True)
        clean_staging(root)
        ensure_space(root, size)
        folder = Path(tempfile.mkdtemp(prefix=INCOMING, dir=root))
        held = FileLock(folder / STAGING_LOCK, timeout=0)
        held.acquire()
    try:
        with translate_disk_errors():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.release()


def clean_staging(root: Path) -> None:
    """Remove what crashes left behind."""
    for folder in root.glob(f"{REMOVED}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob(f"{INCOMING}*"):
        if _is_abandoned(folder):
            log.info("Removing %s, left by a crash.", folder.name)
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        if time.time() - folder.stat().st_mtime < SETTLED_AFTER:
            return False
        with FileLock(folder / STAGING_LOCK, timeout=0):
            return True
    except (OSError, Timeout):  # it is just being renamed into place, or somebody fills it
        return False
