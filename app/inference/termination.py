"""The end of a child process, waited for whatever happens to who waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


async def kill_and_wait(
    process: asyncio.subprocess.Process, gone: Coroutine[Any, Any, None]
) -> None:
    """Kill a child now and wait until it is `gone`, even when that is cancelled: it is soon."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    ending, cancelled = asyncio.ensure_future(gone), None
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
