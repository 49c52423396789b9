"""Tasks that belong to the application, so that none is lost, silent or left behind; and threads
for long work that gives way to everything else."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from app.errors import WickError

log = logging.getLogger(__name__)
T = TypeVar("T")


class BackgroundTasks:
    """Named tasks. One that fails while nobody awaits it is logged; `drain` waits for all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start work that nobody awaits."""
        task = self._begin(work, name)
        task.add_done_callback(_log_failure)
        return task

    async def run_shielded(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Await `work`, which goes on to its end when the caller is cancelled."""
        task = self._begin(work, name)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def drain(self, seconds: float) -> None:
        """Wait until all have ended; those that have not after `seconds` are cancelled."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            log.warning("The task %s did not end in time.", task.get_name())
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _log_failure(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if isinstance(error, WickError):
        log.warning("The task %s failed: %s", task.get_name(), error)
    elif error is not None:
        log.error("The task %s failed.", task.get_name(), exc_info=error)


def background_executor(name: str) -> ThreadPoolExecutor:
    """Make a thread for long work. It takes only what others leave of the processor."""
    return ThreadPoolExecutor(1, name, initializer=_give_way)


def _give_way() -> None:
    """Lower the priority of this thread, where the system knows one for threads."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
