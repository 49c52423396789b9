"""Handle on a disposable process that is given a file and whose result comes in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from app.config import confined_environment

MAX_LINE_BYTES: Final = 64 << 10
END_SECONDS: Final = 0.5


class ChildProcess:
    """A process that lives no longer than its block."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None  # noqa: S101 - asked for pipes
        assert process.stdout is not None  # noqa: S101
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @classmethod
    @asynccontextmanager
    async def started(cls, command: Sequence[str], data: bytes) -> AsyncIterator[ChildProcess]:
        """Start a command that reads `data`."""
        child = cls(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=confined_environment(),
                limit=MAX_LINE_BYTES,
            )
        )
        feeding = asyncio.create_task(child._feed(data))
        try:
            yield child
        finally:
            feeding.cancel()
            await child._end()
            await asyncio.gather(feeding, return_exceptions=True)

    async def readline(self) -> bytes:
        """Read a line. Raises ValueError for one that is too long."""
        return await self._stdout.readline()

    async def read(self, size: int) -> bytes:
        """Read so many bytes. Raises asyncio.IncompleteReadError."""
        return await self._stdout.readexactly(size)

    async def _feed(self, data: bytes) -> None:
        with suppress(ConnectionError):  # it is dead, which the end of its result says too
            self._stdin.write(data)
            await self._stdin.drain()
        self._stdin.close()

    async def _end(self) -> None:
        with suppress(TimeoutError):  # one that is done ends by itself, and is reaped in peace
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        while await self._stdout.read(1 << 20):  # what it still held in its pipe
            pass
        await self._process.wait()
