"""SHA-256 checksums of files, with progress."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path


def file_digest(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file, in hex. `progress` hears the bytes done."""
    return files_digest([path], progress)


def files_digest(paths: Sequence[Path], progress: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of files one after another, in hex."""
    digest, done = hashlib.sha256(), 0
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                done += len(piece)
                if progress:
                    progress(done)
    return digest.hexdigest()
