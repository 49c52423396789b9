"""The transport to a program: its standard input and output, one JSON object a line.

The SDK has one of its own. This one differs: it bounds what comes before it is kept, it skips lines
that are no messages, and the program stays in the connector's process group, so that one signal
ends both and all that they have started.
"""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from app.tools.mcp.child.budget import Budget
from app.tools.mcp.child.confinement import bound_memory
from app.tools.mcp.protocol import McpProgram, Noise

EXIT_SECONDS: Final = 2.0
"""How long a program that has closed its output may take to end, so that its exit code is known."""
NOISE_SECONDS: Final = 0.5
KEPT_LINES: Final = 20
MAX_LINE_CHARS: Final = 300
Incoming = MemoryObjectSendStream[SessionMessage | Exception]


@asynccontextmanager
async def stdio_transport(server: McpProgram, budget: Budget) -> AsyncGenerator[TransportStreams]:
    """Start the program and yield the streams of its messages. Raises OSError or ValueError."""
    process = await anyio.open_process(
        [server.command, *server.arguments],
        env=server.environment,
        cwd=server.folder,
        stderr=subprocess.PIPE,
    )
    bound_memory()  # now: the program would have inherited the bound
    incoming, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, outgoing = anyio.create_memory_object_stream[SessionMessage](0)

    noise = _Noise()

    async def write() -> None:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        async for message in outgoing:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                await process.stdin.send(line.encode() + b"\n")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return  # it is dead, which its output tells

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, process, incoming, noise, budget)
        tasks.start_soon(write)
        tasks.start_soon(noise.keep, process, budget)
        tasks.start_soon(noise.pass_on, budget)
        yield received, sent


class _Noise:
    """The last lines of a program's standard error, passed on now and then."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._is_new = anyio.Event()

    async def keep(self, process: Process, budget: Budget) -> None:
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            async for chunk in process.stderr:
                budget.spend(len(chunk))
                lines = chunk.decode("utf-8", "replace").splitlines()
                self._lines += [line[:MAX_LINE_CHARS] for line in lines if line.strip()]
                self._is_new.set()

    async def pass_on(self, budget: Budget) -> None:
        while True:
            await self._is_new.wait()
            self.flush(budget)
            await anyio.sleep(NOISE_SECONDS)

    def flush(self, budget: Budget) -> None:
        if self._is_new.is_set():
            self._is_new = anyio.Event()
            budget.emit(Noise("\n".join(self._lines)))


async def _read(process: Process, incoming: Incoming, noise: _Noise, budget: Budget) -> None:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    line = bytearray()
    try:
        async for chunk in process.stdout:
            budget.spend(len(chunk))
            *whole, rest = chunk.split(b"\n")
            for part in whole:
                line += part
                await _deliver(bytes(line), incoming, budget)
                line.clear()
            line += rest
            budget.check_message(len(line))
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        pass
    with anyio.move_on_after(EXIT_SECONDS):
        await process.wait()
        await anyio.lowlevel.checkpoint()  # what it wrote last is read
    noise.flush(budget)
    budget.end(_last_words(process.returncode))


async def _deliver(line: bytes, incoming: Incoming, budget: Budget) -> None:
    budget.check_message(len(line))
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return  # such as what a program prints without meaning to
    await incoming.send(SessionMessage(message))


def _last_words(code: int | None) -> str:
    if code is None:
        return "It closed its output."
    if code < 0:
        return f"It was ended by signal {-code}."
    return f"It ended (exit code {code})."
