"""Room in memory for all models: who may be loaded, who leaves for it, and who waits.

Those who wait are served in their order, and hold nothing while they wait, so no two of them can
wait for each other. Idle models leave at once, the least recently used first. When that is not
enough, busy ones are asked to leave after what they have in line by then: nobody is kept out for
ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from app.inference.status import State


class Tenant(Protocol):
    """What may hold memory; in earnest a Worker."""

    name: str
    state: State

    @property
    def last_used(self) -> float: ...
    @property
    def is_busy(self) -> bool: ...
    def give_way(self) -> None: ...
    def stay(self) -> None: ...


class MemoryRoom:
    """`budget` in bytes; `tenants` gives those there are now."""

    def __init__(self, budget: int, tenants: Callable[[], Iterable[Tenant]]) -> None:
        self.budget = budget
        self._tenants = tenants
        self._held: dict[str, int] = {}
        self._waiting: deque[str] = deque()
        self._asked: set[str] = set()
        self._news = asyncio.Event()

    def held(self, name: str) -> int:
        """Bytes set aside for a model; 0 for one that is not loaded."""
        return self._held.get(name, 0)

    @property
    def free(self) -> int:
        return self.budget - sum(self._held.values())

    def release(self, name: str) -> None:
        """It is out of memory."""
        self._held.pop(name, None)
        self.look()

    def look(self) -> None:
        """Something has changed that may let somebody in."""
        self._news.set()

    async def reserve(
        self,
        name: str,
        choices: Sequence[int],
        tell: Callable[[str], None],
        is_wanted: Callable[[], bool],
    ) -> int | None:
        """Wait for room, and take it; the index of the choice there was room for.

        choices: bytes, the best first, of which the last fits the budget. tell: hears whom it
        waits for. None when `is_wanted` says that there is no use any more.
        """
        self._waiting.append(name)
        told = ""
        try:
            while is_wanted():
                self._news.clear()
                is_next = self._waiting[0] == name
                if is_next and (choice := self._find(choices)) is not None:
                    self._held[name] = choices[choice]
                    return choice
                if (sentence := self._sentence(name)) != told:
                    told = sentence
                    tell(sentence)
                await self._news.wait()
            return None
        finally:
            if self._waiting[0] == name:  # whoever was asked to leave was asked for this one
                asked, self._asked = self._asked, set()
                for tenant in self._tenants():
                    if tenant.name in asked:
                        tenant.stay()
            self._waiting.remove(name)
            self.look()

    def _find(self, choices: Sequence[int]) -> int | None:
        """The best choice that fits now; None after those who must leave have been asked to."""
        if choices[0] <= self.free:
            return 0
        tenants = sorted(
            (t for t in self._tenants() if t.name in self._held), key=lambda t: t.last_used
        )
        leaving = [t for t in tenants if t.state == "unloading"]
        coming = self.free + sum(self._held[t.name] for t in leaving)
        for tenant in tenants:
            if coming >= choices[0]:
                break
            if tenant.state == "ready" and not tenant.is_busy:
                tenant.give_way()
                leaving.append(tenant)
                coming += self._held[tenant.name]
        if leaving:
            return None
        for index, choice in enumerate(choices):
            if choice <= self.free:
                return index
        # Those that have been asked already come first, so that no more are asked than needed.
        for tenant in sorted(tenants, key=lambda t: t.name not in self._asked):
            if coming >= choices[-1]:
                break
            self._asked.add(tenant.name)
            tenant.give_way()
            coming += self._held[tenant.name]
        return None

    def _sentence(self, name: str) -> str:
        if self._waiting[0] != name:
            return f"Waiting for memory: {self._waiting[0]} comes first"
        busy = sorted(self._asked & self._held.keys())
        if not busy:
            return "Waiting for memory: another model is being unloaded"
        verb = "are" if len(busy) > 1 else "is"
        return f"Waiting for memory: {' and '.join(busy)} {verb} answering"
