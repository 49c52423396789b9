"""A runner that says what the test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from app.inference.protocol import Cancel, Command, Event, Generate, Loaded, Shutdown


class ScriptedRunner:
    """Remembers what it is sent; says what `say` is given; dies when told."""

    pid = 4242

    def __init__(self, slots: int = 1) -> None:
        self.loaded = Loaded(slots=slots, context_length=512, seconds=0.0)
        self.sent: list[Generate | Cancel] = []
        self.commands: list[Command] = []  # of things that are no requests
        self.is_slow_to_quit = False
        self.is_dead = False
        self._says: asyncio.Queue[Event | None] = asyncio.Queue()

    def send(self, command: Command) -> None:
        if isinstance(command, Generate | Cancel):
            self.sent.append(command)
        else:
            self.commands.append(command)

    def say(self, *events: Event) -> None:
        for event in events:
            self._says.put_nowait(event)

    def die(self) -> None:
        self.is_dead = True
        self._says.put_nowait(None)

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._says.get()) is not None:
            yield event

    async def exit_reason(self) -> str:
        return "unexpectedly (SIGKILL)"

    async def shutdown(self, seconds: float) -> None:
        self.send(Shutdown(seconds))
        if not self.is_slow_to_quit:
            self.die()

    async def kill(self) -> None:
        self.die()
