"""Leave: a model that is loaded goes after what it promised to answer, and its runner ends."""

from __future__ import annotations

import asyncio
from typing import Final

from app.inference.serving import Dispatcher, Runner

UNLOAD_SECONDS: Final = 5.0
"""For a runner to write its KV states when it is unloaded; then it is killed."""


class Unloading:
    """Whether the model is to go, and its going. `reset` makes it ready for the next load.

    is_due: it goes after what ran and waited when it was told to.
    """

    def __init__(self, name: str, serving: Dispatcher) -> None:
        self.is_due = False
        self._is_final = False
        self._name = name
        self._dispatcher = serving
        self._going: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        return self._going is not None

    def request(self, *, for_good: bool) -> bool:
        """It is to go; `for_good`: `cancel` changes nothing. Whether that is news."""
        self._is_final |= for_good
        if self.is_due:
            return False
        self.is_due = True
        self._dispatcher.drain()
        return True

    def cancel(self) -> None:
        """It need not go any more, unless it is too late for that."""
        if self.is_due and not self._is_final and not self.is_under_way:
            self.is_due = False
            self._dispatcher.resume()

    def start(self, runner: Runner) -> None:
        """Let the runner write its KV states and end, which its events tell."""
        self._going = asyncio.create_task(
            runner.shutdown(UNLOAD_SECONDS), name=f"unload {self._name}"
        )

    async def wait(self) -> None:
        """Wait until what `start` began is done."""
        if self._going is not None:
            await asyncio.wait([self._going])

    async def force(self, runner: Runner, seconds: float) -> None:
        """The runner is gone afterwards; for so long it may write its KV states."""
        if self._going is not None:
            await asyncio.wait([self._going], timeout=seconds)
            await runner.kill()
        elif seconds:
            await runner.shutdown(seconds)
        else:
            await runner.kill()

    def reset(self) -> None:
        self.is_due = self._is_final = False
        self._going = None
