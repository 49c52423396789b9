"""The runner of a model that other servers hold: commands and events as of any other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from app.inference.protocol import Cancel, Command, Event, Generate, Loaded, Shutdown
from app.inference.remote.answer import RemoteAnswer
from app.inference.remote.faults import Timeouts
from app.inference.remote.servers import ServerPool
from app.models.remote_check import HttpClients


class RemoteRunner:
    """One for each model in use. `loaded` says what its servers can do now."""

    pid = None

    def __init__(self, servers: ServerPool, patience: Timeouts) -> None:
        self._servers = servers
        self._patience = patience
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._clients = HttpClients()
        self._is_dead = False
        self.loaded = self._capabilities()
        servers.listeners.append(self._watch)

    def send(self, command: Command) -> None:
        match command:
            case Generate() if not self._is_dead:
                self._begin(command)
            case Cancel():
                if (task := self._tasks.get(command.id)) is not None:
                    task.cancel()
            case Shutdown():
                self._die()
            case _:  # a server elsewhere keeps nothing that Wick could make it forget
                pass

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def exit_reason(self) -> str:
        return "unexpectedly"

    async def shutdown(self, seconds: float) -> None:
        """There is nothing to write to the disk."""
        await self.kill()

    async def kill(self) -> None:
        """Close every connection now, and wait until that is done."""
        self._die()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._clients.close()

    def _begin(self, command: Generate) -> None:
        answer = RemoteAnswer(
            command, self._servers, self._clients.of, self._events.put_nowait, self._patience
        )
        task = asyncio.create_task(answer.run(), name=f"remote answer {command.id}")
        self._tasks[command.id] = task

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.pop(command.id, None)
            answer.end()

        task.add_done_callback(ended)

    def _die(self) -> None:
        if not self._is_dead:
            self._is_dead = True
            with contextlib.suppress(ValueError):
                self._servers.listeners.remove(self._watch)
            for task in self._tasks.values():
                task.cancel()
            self._events.put_nowait(None)

    def _capabilities(self) -> Loaded:
        return Loaded(self._servers.slots, self._servers.window, 0.0)

    def _watch(self) -> None:
        """A server has come or gone."""
        if (now := self._capabilities()) != self.loaded:
            self.loaded = now
            self._events.put_nowait(now)
