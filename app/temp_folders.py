"""Temporary folders of a process. A crash leaves one behind, which the next process collects."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

# Temporary folders that versions of Wick left behind which held them by no lock.


DAY_SECONDS: Final = 86400.0
_RUN: Final = re.compile(r"wick-[a-z0-9_]{8}")
_CHAT: Final = re.compile(r"wick-chat-[a-z0-9_]{8}")
_PERMIT: Final = re.compile(r"gate|(permit|media)-\d+")
DATABASE_FILE: Final = "wick.db"


def find_abandoned(root: Path) -> list[Path]:
    """List the folders in `root` that are clearly Wick's and this user's, old, and unused."""
    if not hasattr(os, "getuid"):  # Windows removes no folder that is in use, and tells no owner
        return []
    found = [folder for folder in root.glob("wick-*") if _is_candidate(folder)]
    return [folder for folder in found if not _is_in_use(folder)] if found else []


def _is_candidate(folder: Path) -> bool:
    try:
        status = folder.lstat()
        if folder.is_symlink() or not folder.is_dir() or status.st_uid != os.getuid():
            return False
        return _is_ours(folder) and _is_old(status.st_mtime)
    except OSError:
        return False


def _is_ours(folder: Path) -> bool:
    if _CHAT.fullmatch(folder.name):
        return (folder / DATABASE_FILE).is_file()
    return bool(_RUN.fullmatch(folder.name)) and _are_permits(folder.iterdir())


def _are_permits(paths: Iterable[Path]) -> bool:
    """Tell whether there are files and all are permits: locks without content."""
    found = list(paths)
    return bool(found) and all(
        _PERMIT.fullmatch(path.name) and path.is_file() and not path.lstat().st_size
        for path in found
    )


def _is_old(changed: float) -> bool:
    import psutil  # here and not above: it takes a while to load

    return changed < psutil.boot_time() or time.time() - changed > DAY_SECONDS


def _is_in_use(folder: Path) -> bool:
    """Tell whether a process has a file in it open. Other users' processes cannot."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if any(Path(file.path).parent == folder for file in process.open_files()):
                return True
    return False


log = logging.getLogger(__name__)
LOCK_NAME: Final = ".held"
"""A file in the folder that its process holds locked. Its death, however it dies, lets go of it."""
NEW: Final = "wick-new-"
"""A folder until its process holds it; afterwards it gets the name by which it is collected."""
NEW_SECONDS: Final = 3600.0


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Make a folder whose name begins with `prefix`; remove it afterwards."""
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
    """Remove this user's folders of processes that crashed."""
    root = Path(tempfile.gettempdir())
    held = [*root.glob(f"{prefix}*"), *root.glob(f"{NEW}*")]
    for folder in [*filter(_is_abandoned, held), *find_abandoned(root)]:
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
