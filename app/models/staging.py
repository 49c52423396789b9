"""Staging folders: hidden folders of the store with models that are not complete yet."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from app.errors import PullError
from app.models.disk import ensure_space, translate_disk_errors

# Half-downloaded files: hidden folders of the store that survive a cut and are found again.


log = logging.getLogger(__name__)

PARTIAL: Final = ".partial-"
LOCK: Final = ".lock"
EXPIRE_SECONDS: Final = 7 * 24 * 3600
"""Seconds without a change after which nobody is expected to go on with a pull."""


@contextmanager
def partial(root: Path, source: str) -> Iterator[Path]:
    """The folder for what has arrived of `source` so far; one process at a time may be in it.

    It stays, for the next try, unless its user removes it. Raises PullError while another holds it.
    """
    folder = root / (PARTIAL + hashlib.sha256(source.encode()).hexdigest()[:16])
    with translate_disk_errors():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        clean_partial(root, but=folder)
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise PullError(
                "This model is being fetched already, perhaps by another Wick."
            ) from None
    try:
        with translate_disk_errors():
            yield folder
    finally:
        lock.release()
        if all(path.name == LOCK for path in folder.glob("*")):
            shutil.rmtree(folder, ignore_errors=True)


def clean_partial(root: Path, but: Path | None = None) -> None:
    """Remove what has not been gone on with for days."""
    for folder in root.glob(f"{PARTIAL}*"):
        try:
            changed = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
        except OSError:  # it is just being finished
            continue
        if folder != but and time.time() - changed > EXPIRE_SECONDS:
            log.info("Removing the abandoned %s.", folder.name)
            shutil.rmtree(folder, ignore_errors=True)


def empty(folder: Path) -> None:
    """Remove what is in the folder of a pull: it has arrived, or is not what it should be."""
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


# Half-made models: hidden folders of the store, each held by whoever fills it.


INCOMING: Final = ".incoming-"
REMOVED: Final = ".removed-"
STAGING_LOCK: Final = ".held"
"""A file in the folder that its user holds locked. The system lets go of it when a process dies."""
SETTLED_AFTER: Final = 60.0
"""Seconds without a change after which a folder that nobody holds is not one that just begins."""


@contextmanager
def incoming(root: Path, size: int, keep_free: int = 0) -> Iterator[Path]:
    """A folder on the disk of `root`, with room for `size` bytes beside `keep_free`, gone
    afterwards.

    Its user may rename it, once STAGING_LOCK is taken out. Raises DiskFull or ModelError.
    """
    with translate_disk_errors():
        root.mkdir(parents=True, exist_ok=True)
        clean_staging(root)
        ensure_space(root, size, keep_free)
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
