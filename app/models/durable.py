"""Writes that a crash or a power cut leaves whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from app.models.room import translate_disk_errors


def write_atomic(path: Path, text: str) -> None:
    """A small file, whole or not at all. Raises DiskFull or ModelError."""
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
