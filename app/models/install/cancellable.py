"""Runs work in a thread that ends when the task that waits for it is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Final, TypeVar

from app.errors import PullError

Result = TypeVar("Result")
_THREADS: Final = ThreadPoolExecutor(32, thread_name_prefix="pull")
"""Their own: this work takes minutes, and of the threads of asyncio, which every page needs for a
moment, a small machine has half a dozen."""


class CancelToken(threading.Event):
    """Flag that is set when nobody needs the work any more."""

    def check(self) -> None:
        """Raises PullError once it is set."""
        if self.is_set():
            raise PullError("It was cancelled.")


async def run_cancellable(work: Callable[[CancelToken], Result]) -> Result:
    """Run `work` in a thread and return its result.

    When cancelled, sets the `CancelToken` of `work` and waits until it has ended.
    """
    stop = CancelToken()
    working = asyncio.get_running_loop().run_in_executor(_THREADS, work, stop)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # seen: what a stopped work raises says nothing new
        raise


async def write(file: BinaryIO, piece: bytes) -> None:
    """Append to a file in a thread. A cancelled write is still completed."""
    await run_cancellable(lambda _: file.write(piece))
