"""Temporary folders that versions of Wick left behind which held them by no lock."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

DAY_SECONDS: Final = 86400.0
_RUN: Final = re.compile(r"wick-[a-z0-9_]{8}")
_CHAT: Final = re.compile(r"wick-chat-[a-z0-9_]{8}")
_PERMIT: Final = re.compile(r"gate|permit-\d+")
DATABASE_FILE: Final = "wick.db"


def find_abandoned(root: Path) -> list[Path]:
    """Folders there that are clearly Wick's own and this user's, old, and used by no process."""
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
    """Some, and nothing else: locks are files without a content."""
    found = list(paths)
    return bool(found) and all(
        _PERMIT.fullmatch(path.name) and path.is_file() and not path.lstat().st_size
        for path in found
    )


def _is_old(changed: float) -> bool:
    import psutil  # here and not above: it takes a while to load

    return changed < psutil.boot_time() or time.time() - changed > DAY_SECONDS


def _is_in_use(folder: Path) -> bool:
    """Whether a process has a file in it open. What other users run cannot."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if any(Path(file.path).parent == folder for file in process.open_files()):
                return True
    return False
