"""Another program that is busy: it spins on one core, as a build or a video call would."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# It says that it spins before it does, and ends by itself when its parent is gone.
SPIN = """
import os
parent = os.getppid()
os.write(1, b"spinning")
while os.getppid() == parent:
    pass
"""


@asynccontextmanager
async def busy_process() -> AsyncIterator[None]:
    """One process that keeps one core busy until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SPIN, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None  # noqa: S101 - asked for a pipe
        await process.stdout.read(1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
