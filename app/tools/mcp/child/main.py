"""The MCP connector: `python -m app.tools.mcp.child.main`. Speaks with one MCP server.

The first line on standard input says with which; the others are commands. Events leave as lines on
a private descriptor. The end of standard input, and any trouble with the server, ends the process
and its whole group, whatever the server is doing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Final

import anyio
import httpx2
from anyio.abc import TaskGroup
from mcp import Client, MCPError, types
from pydantic import ValidationError

import app
from app.tools.mcp.child.budget import Budget, end_group
from app.tools.mcp.child.catalogue import list_offers, plain
from app.tools.mcp.child.confinement import bound_memory, yield_to_others
from app.tools.mcp.child.content import prompt_text, resource_parts, result_text
from app.tools.mcp.child.http import http_transport
from app.tools.mcp.child.stdio import stdio_transport
from app.tools.mcp.protocol import (
    Called,
    CallTool,
    CancelCommand,
    CommandRefused,
    Connected,
    GetPrompt,
    Listed,
    ListOffers,
    McpCommand,
    McpEndpoint,
    McpEvent,
    McpProgram,
    McpResult,
    Prompted,
    Read,
    ReadResource,
    command_from,
    endpoint_from,
    to_line,
)

REASON_CHARS: Final = 300
SESSION_LOST: Final = "Session terminated"
"""What the SDK says of an HTTP server that was started anew."""
Commands = asyncio.Queue[McpCommand]
Request = ListOffers | CallTool | ReadResource | GetPrompt


def main() -> None:
    parser = argparse.ArgumentParser(prog="mcp-connector", description="Speaks MCP for Wick.")
    parser.add_argument("--events-fd", type=int, required=True, help="where events are written")
    budget = Budget(McpEventWriter(parser.parse_args().events_fd))
    logging.basicConfig(level=logging.CRITICAL)  # standard error is for the server's own words
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    yield_to_others()
    endpoint = endpoint_from(sys.stdin.buffer.readline())
    try:
        anyio.run(_serve, endpoint, budget)
    except BaseException as error:  # whatever it is, it is the end of this connection
        budget.end(budget.refusal or _reason(endpoint, error))
    end_group()


async def _serve(endpoint: McpEndpoint, budget: Budget) -> None:
    commands: Commands = asyncio.Queue()
    loop = asyncio.get_running_loop()
    # A thread, so that the parent's death is seen while the loop is busy.
    threading.Thread(target=_read_commands, args=(loop, commands), daemon=True).start()
    if isinstance(endpoint, McpProgram):
        transport = stdio_transport(endpoint, budget)
    else:
        bound_memory()
        transport = http_transport(endpoint, budget)
    info = types.Implementation(name="Wick", version=app.__version__)
    async with (
        Client(transport, client_info=info, cache=None) as client,
        anyio.create_task_group() as tasks,
    ):
        connector = Connector(client, tasks, budget)
        while True:
            command = await commands.get()
            budget.renew()
            connector.handle(command)


class Connector:
    """Carries out commands, each in a task of its own."""

    def __init__(self, client: Client, tasks: TaskGroup, budget: Budget) -> None:
        self._client = client
        self._budget = budget
        self._emit = budget.emit
        self._tasks = tasks
        self._scopes: dict[int, anyio.CancelScope] = {}
        # The SDK would refuse results that do not follow the server's own schema, and compile any
        # schema for that. Models read text, whatever its form.
        setattr(client.session, "validate_tool_result", _accept)  # noqa: B010 - a method of it
        server = client.server_info
        known = (plain(server.name, 80), plain(server.version, 40)) if server else ()
        self._emit(Connected(*known))

    def handle(self, command: McpCommand) -> None:
        """Begin a command, or give one up."""
        if isinstance(command, CancelCommand):
            if (scope := self._scopes.get(command.id)) is not None:
                scope.cancel()
            return
        self._tasks.start_soon(self._run, command)

    async def _run(self, command: Request) -> None:
        with anyio.CancelScope() as scope:
            self._scopes[command.id] = scope
            try:
                result = await self._result(command)
            except (MCPError, ValidationError, RuntimeError, ValueError) as error:
                if str(error) == SESSION_LOST:
                    self._budget.end("It has forgotten this connection. Try again.")
                result = CommandRefused(command.id, self._budget.refusal or _words(error))
            self._emit(result)
        del self._scopes[command.id]

    async def _result(self, command: Request) -> McpResult:
        client = self._client
        if isinstance(command, ListOffers):
            return Listed(command.id, await list_offers(client))
        if isinstance(command, CallTool):
            called = await client.call_tool(command.name, dict(command.arguments))
            return Called(command.id, result_text(called), called.is_error)
        if isinstance(command, GetPrompt):
            prompt = await client.get_prompt(command.name, command.arguments)
            return Prompted(command.id, prompt_text(prompt))
        return Read(command.id, resource_parts(await client.read_resource(command.uri)))


async def _accept(_name: str, _result: types.CallToolResult) -> None:
    """Take any result."""


class McpEventWriter:
    """Writer of events as whole lines. Ends the process without a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: McpEvent) -> None:
        line = memoryview(to_line(event))
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:  # the parent is gone
            end_group()


def _read_commands(loop: asyncio.AbstractEventLoop, commands: Commands) -> None:
    try:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(commands.put_nowait, command_from(line))
    finally:
        end_group()


def _words(error: Exception) -> str:
    if isinstance(error, MCPError):
        return plain(error.message, REASON_CHARS) or "It refused, and said no more."
    if isinstance(error, ValidationError):
        return "It answered something that is not MCP."
    return plain(error, REASON_CHARS)


def _reason(endpoint: McpEndpoint, error: BaseException) -> str:
    """Say why there is no connection (any more)."""
    found = next(_leaves(error))
    if isinstance(found, MemoryError):
        return "It takes too much memory."
    if isinstance(endpoint, McpProgram) and isinstance(found, OSError):
        if isinstance(found, FileNotFoundError):
            return f"The program “{endpoint.command}” was not found."
        return f"The program “{endpoint.command}” can't be started: {found.strerror or found}."
    if isinstance(found, httpx2.ConnectError):
        return "It can't be reached at this address."
    if isinstance(found, httpx2.HTTPError):
        return f"The connection failed: {plain(found, REASON_CHARS) or type(found).__name__}"
    if isinstance(found, Exception):
        return f"It does not speak MCP as expected: {_words(found)}"
    return "The connection was ended."


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


if __name__ == "__main__":
    main()
