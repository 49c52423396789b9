"""Patience: how long a test waits for what must come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 120.0
"""Seconds after which something that never comes is given up: only what is broken takes them."""
POLL_SECONDS: Final = 0.005


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(POLL_SECONDS)
