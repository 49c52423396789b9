"""Temporary folders of a process. A crash leaves one behind, which the next process collects."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from app.inference import older_scratch

log = logging.getLogger(__name__)
LOCK_NAME: Final = ".held"
"""A file in the folder that its process holds locked. Its death, however it dies, lets go of it."""
NEW: Final = "wick-new-"
"""A folder until its process holds it; afterwards it gets the name by which it is collected."""
NEW_SECONDS: Final = 3600.0


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A folder of this process, gone afterwards, whose name begins with `prefix`."""
    collect(prefix)
    folder = Path(tempfile.mkdtemp(prefix=NEW))
    held = FileLock(folder / LOCK_NAME, timeout=0)
    held.acquire()
    with contextlib.suppress(OSError):  # Windows renames no folder with an open file
        folder = folder.rename(folder.with_name(prefix + folder.name.removeprefix(NEW)))
    try:
        yield folder
    finally:
        held.release()
        shutil.rmtree(folder, ignore_errors=True)


def collect(prefix: str) -> None:
    """Remove the folders of processes that have ended without a word; only this user's."""
    root = Path(tempfile.gettempdir())
    held = [*root.glob(f"{prefix}*"), *root.glob(f"{NEW}*")]
    for folder in [*filter(_is_abandoned, held), *older_scratch.find_abandoned(root)]:
        log.info("Removing %s, left by a crash.", folder)
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        status = folder.lstat()
        if folder.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            return False
        if folder.name.startswith(NEW):  # nobody holds it yet
            return time.time() - status.st_mtime > NEW_SECONDS
        if not (folder / LOCK_NAME).is_file():
            return False
        with FileLock(folder / LOCK_NAME, timeout=0):
            return True
    except (OSError, Timeout):
        return False
