"""The parent's handle on one MCP connector: a process that speaks with one MCP server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from app.config import confined_environment
from app.errors import ToolServerFailed
from app.tools.mcp.protocol import (
    MAX_EVENT_BYTES,
    CancelCommand,
    CommandRefused,
    Connected,
    Ended,
    McpCommand,
    McpEndpoint,
    McpResult,
    Noise,
    event_from,
    to_line,
)

log = logging.getLogger(__name__)
CONNECT_SECONDS: Final = 60.0
"""A program that is started by `npx` or `uvx` may have to be downloaded first."""
CRASHED: Final = "It crashed."
Command = Callable[[int], McpCommand]


class McpProcess:
    """One connector. Commands may overlap; when the connection is over, all of them fail.

    greeting: what the server calls itself; last_words: the end of its standard error.
    """

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, events: asyncio.StreamReader
    ) -> None:
        self.greeting = Connected()
        self.last_words = ""
        self._name = name
        self._process = process
        self._events = events
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[McpResult]] = {}
        self._reason = ""
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, name: str, endpoint: McpEndpoint, seconds: float = CONNECT_SECONDS
    ) -> McpProcess:
        """Connect. Raises ToolServerFailed with the reason."""
        found = await cls._spawn(name)
        try:
            async with asyncio.timeout(seconds):
                await found._send(to_line(endpoint))
                event = await found._next_event()
        except TimeoutError:
            await found.kill()
            raise ToolServerFailed(
                f"It did not answer within {seconds:.0f} seconds.", found.last_words
            ) from None
        except BaseException:
            await found.kill()
            raise
        if not isinstance(event, Connected):
            await found.kill()
            reason = event.message if isinstance(event, Ended) else CRASHED
            raise ToolServerFailed(reason, found.last_words)
        found.greeting = event
        found._reading = asyncio.create_task(found._read_events(), name=f"events of {name}")
        return found

    @classmethod
    async def _spawn(cls, name: str) -> McpProcess:
        read_end, write_end = os.pipe()
        try:
            events = asyncio.StreamReader(limit=MAX_EVENT_BYTES)
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(events),
                os.fdopen(read_end, "rb", buffering=0),
            )
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.tools.mcp.child.main", "--events-fd", str(write_end)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(write_end,),
                env=confined_environment(),
                start_new_session=True,  # a group, which the server's processes belong to
            )
        finally:
            os.close(write_end)
        return cls(name, process, events)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._reading is not None and not self._reading.done()

    @property
    def is_busy(self) -> bool:
        return bool(self._waiting)

    async def request(self, command: Command, seconds: float) -> McpResult:
        """Carry out a command within so many seconds.

        Raises ToolServerFailed, also for what the server refuses, and TimeoutError.
        """
        if not self.is_alive:
            raise ToolServerFailed(self._reason or CRASHED, self.last_words)
        command_id = next(self._ids)
        future: asyncio.Future[McpResult] = asyncio.get_running_loop().create_future()
        self._waiting[command_id] = future
        try:
            async with asyncio.timeout(seconds):
                await self._send(to_line(command(command_id)))
                result = await future
        except (TimeoutError, asyncio.CancelledError):
            self._write(to_line(CancelCommand(command_id)))
            raise
        finally:
            del self._waiting[command_id]
        if isinstance(result, CommandRefused):
            raise ToolServerFailed(result.message)
        return result

    async def kill(self) -> None:
        """End it with all processes of its group, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.shield(self._gone())

    async def _gone(self) -> None:
        await self._process.wait()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for a pipe
        self._write(data)
        with contextlib.suppress(ConnectionError):  # it is dead, which its events tell
            await self._process.stdin.drain()

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for a pipe
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(data)

    async def _next_event(self) -> McpResult | Connected | Ended:
        """Read an event. A connector that is broken, or was broken into, has ended."""
        try:
            while line := await self._events.readline():
                event = event_from(line)
                if not isinstance(event, Noise):
                    return event
                self.last_words = event.text
            return Ended(CRASHED)
        except (ValueError, OSError) as error:
            log.error("The connector of %s said what makes no sense: %s", self._name, error)
            return Ended(CRASHED)

    async def _read_events(self) -> None:
        try:
            while not isinstance(event := await self._next_event(), Ended):
                if not isinstance(event, Connected) and event.id in self._waiting:
                    _settle(self._waiting[event.id], event)
            self._reason = event.message
        finally:
            self._reason = self._reason or CRASHED
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ToolServerFailed(self._reason, self.last_words))


def _settle(future: asyncio.Future[McpResult], result: McpResult) -> None:
    if not future.done():
        future.set_result(result)
