"""Thread permits of media work, which leaves at least one of them to answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.inference.runner.threads import (
    ARE_SHARED,
    FilePermits,
    LocalPermits,
    Permits,
    open_lock,
    try_lock,
)


class MediaPermits:
    """Permits for what computes beside answers: one each, all but one of the budget together.

    Who comes later takes none and shares the cores of the others: an answer goes on with its one
    thread, which has nobody to wait for. Of a single permit there is none to take.
    """

    def __init__(self, directory: Path, budget: int) -> None:
        self._permits = FilePermits(directory, budget)
        self._places = [directory / f"media-{number}" for number in range(budget - 1)]

    def hold(self) -> Callable[[], None]:
        """Wait for a permit; return what gives it back, which any thread may call once."""
        place = self._take_place()
        if place is None:
            return lambda: None
        try:
            release = self._permits.hold()
        except BaseException:
            os.close(place)
            raise

        def give_back() -> None:
            release()
            os.close(place)

        return give_back

    @contextmanager
    def acquire(self, wanted: int) -> Iterator[int]:
        """Compute with one thread, however many are wanted."""
        release = self.hold()
        try:
            yield 1
        finally:
            release()

    def _take_place(self) -> int | None:
        for path in self._places:
            file = open_lock(path)
            if try_lock(file):
                return file
            os.close(file)
        return None


def open_media_permits(directory: Path, budget: int) -> Permits:
    """Open the permits of a folder, for a child."""
    return MediaPermits(directory, budget) if ARE_SHARED else LocalPermits(1)
