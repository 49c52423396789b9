"""Whether there is room on the disk, and what its errors mean."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.errors import DiskFull, ModelError

SPARE: Final = 64 << 20
"""Bytes of the disk that a model on its way to the shelf leaves free."""


def check_room(folder: Path, size: int) -> None:
    """Raises DiskFull unless `size` more bytes fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise DiskFull(
            f"There is no room for the model: it needs {(size + SPARE) / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free."
        )


@contextmanager
def disk_errors_in_words() -> Iterator[None]:
    """What the disk refuses is raised as a sentence: DiskFull or ModelError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("There is no room left on the disk for the model.") from error
        why = error.strerror or error
        raise ModelError(f"The model could not be written: {why}.") from error
