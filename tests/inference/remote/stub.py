"""Servers with OpenAI's protocol on loopback that do what the test tells them, good or bad."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.patience import PATIENCE

STREAM = {"Content-Type": "text/event-stream"}
MODEL = {"id": "stub", "object": "model", "owned_by": "vllm", "max_model_len": 8192}


@dataclass
class Call:
    """One request, and the way back. `gone` is set when who asked has hung up."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        given = {"Connection": "close"} | (STREAM if headers is None else headers)
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items())]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def event(self, value: object) -> None:
        await self.raw(f"data: {json.dumps(value)}\n\n".encode())

    async def say(self, *texts: str) -> None:
        for text in texts:
            await self.event(chunk(text))

    async def call_tools(self, *calls: tuple[str, dict[str, Any]]) -> None:
        """End the answer with calls: the names of tools, and their arguments."""
        for index, (name, arguments) in enumerate(calls):
            function = {"name": name, "arguments": json.dumps(arguments)}
            one = {"index": index, "id": f"call{index}", "type": "function", "function": function}
            await self.event({"choices": [{"index": 0, "delta": {"tool_calls": [one]}}]})
        await self.finish("tool_calls")

    async def finish(self, reason: str = "stop", usage: dict[str, Any] | None = None) -> None:
        await self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if usage:
            await self.event({"choices": [], "usage": usage})
        await self.raw(b"data: [DONE]\n\n")

    async def json(self, value: object, status: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        given = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        await self.head(status, given | {name.replace("_", "-"): v for name, v in headers.items()})
        await self.raw(body)

    async def refuse(self, status: int, message: str = "no", **headers: str) -> None:
        await self.json({"error": {"message": message, "code": status}}, status, **headers)


Script = Callable[[Call], Awaitable[None]]
TURNS_TO_ACCEPT = 5
"""Turns of the event loop from a connection that comes in to its handler, and one more."""


def chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


async def answer(call: Call) -> None:
    await call.head()
    await call.say("Hello", " there")
    await call.finish(usage={"prompt_tokens": 11, "completion_tokens": 2})


@dataclass
class Stub:
    """Server whose `script` answers the next chat completion, and `models` the list of models."""

    url: str = ""
    script: Script = answer
    models: object = field(default_factory=lambda: {"object": "list", "data": [MODEL]})
    models_status: int = 200
    calls: list[Call] = field(default_factory=list)
    looks: list[Call] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def called(self, count: int = 1) -> Call:
        """The request with that number, as soon as it has come."""
        async with asyncio.timeout(PATIENCE):
            while len(self.calls) < count:
                self._news.clear()
                await self._news.wait()
        return self.calls[count - 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            call = await _read(reader, writer)
            if call.path.endswith("/models"):
                self.looks.append(call)
                await call.json(self.models, self.models_status)
                return
            self.calls.append(call)
            self._news.set()
            hung_up = asyncio.create_task(_watch(reader, call.gone))
            try:
                await self.script(call)
            finally:
                hung_up.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Call(head[0].split()[1], headers, json.loads(body or b"{}"), writer)


async def _watch(reader: asyncio.StreamReader, gone: asyncio.Event) -> None:
    try:
        await reader.read()
    except ConnectionError:
        pass
    gone.set()


@asynccontextmanager
async def serving(script: Script = answer) -> AsyncIterator[Stub]:
    """A stub on a port of its own. Its handlers are cancelled at the end."""
    stub = Stub(script=script)
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.create_task(stub.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield stub
    finally:
        server.close()
        for _ in range(TURNS_TO_ACCEPT):  # a caller that has given up may have come just now
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:  # what nobody reads would keep its connection open
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()
