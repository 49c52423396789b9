"""Disk: free space, atomic writes, and checksums of files."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.errors import DiskFull, ModelError

# SHA-256 checksums of files, with progress.


def file_digest(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Compute the SHA-256 of a file, in hex. `progress` is called with the bytes done."""
    return files_digest([path], progress)


def files_digest(paths: Sequence[Path], progress: Callable[[int], None] | None = None) -> str:
    """Compute the SHA-256 of several files as if they were one, in hex."""
    digest, done = hashlib.sha256(), 0
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                done += len(piece)
                if progress:
                    progress(done)
    return digest.hexdigest()


# Whether there is room on the disk, and what its errors mean.


RESERVED_BYTES: Final = 64 << 20
"""Bytes of the disk that a model on its way into the store leaves free."""


def ensure_space(folder: Path, size: int, keep_free: int = 0) -> None:
    """Raises DiskFull unless `size` more bytes fit on the disk of `folder` beside `keep_free`."""
    free, reserved = shutil.disk_usage(folder).free, max(RESERVED_BYTES, keep_free)
    if free >= size + reserved:
        return
    left = f"{free // 10**6:,} MB are free"
    needed = math.ceil((size + reserved) / 1e6)
    if not size:
        raise DiskFull(
            f"There is no room left on the disk for the model: {left}; {needed:,} MB must "
            "stay free."
        )
    raise DiskFull(f"There is no room for the model: it needs {needed:,} MB and {left}.")


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Turn an OSError of the disk into a sentence: DiskFull or ModelError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("There is no room left on the disk for the model.") from error
        why = error.strerror or error
        raise ModelError(f"The model could not be written: {why}.") from error


# Writes that a crash or a power cut leaves whole.


def write_atomic(path: Path, text: str) -> None:
    """Write a small file, whole or not at all. Raises DiskFull or ModelError."""
    with translate_disk_errors():
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        beside = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            beside.chmod(0o644)
            fsync_path(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
