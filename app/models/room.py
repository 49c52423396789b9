"""Whether there is room on the disk, and what its errors mean."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.errors import DiskFull, ModelError

RESERVED_BYTES: Final = 64 << 20
"""Bytes of the disk that a model on its way to the shelf leaves free."""


def ensure_space(folder: Path, size: int) -> None:
    """Raises DiskFull unless `size` more bytes fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free >= size + RESERVED_BYTES:
        return
    left = f"{free // 10**6:,} MB are free"
    needed = math.ceil((size + RESERVED_BYTES) / 1e6)
    if not size:
        raise DiskFull(
            f"There is no room left on the disk for the model: {left}, and {needed:,} MB are to "
            "stay free."
        )
    raise DiskFull(f"There is no room for the model: it needs {needed:,} MB and {left}.")


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """What the disk refuses is raised as a sentence: DiskFull or ModelError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("There is no room left on the disk for the model.") from error
        why = error.strerror or error
        raise ModelError(f"The model could not be written: {why}.") from error
