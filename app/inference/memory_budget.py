"""Memory budget of all models: who may load, who unloads for it, and how the rest is shared out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from app.config import Settings
from app.inference.model_state import ModelState
from app.inference.protocol import MAX_CONTEXTS, SetLimits

# Shares out the memory that loaded models leave: it keeps more chats at hand.
#
# Beside weights and the contexts of their slots, runners may hold spare contexts and snapshots in
# memory. Nobody needs them, so they get what is left of the budget, and give it back as soon as
# another model is to be loaded.


MEGABYTE: Final = 1 << 20
RESERVED_BYTES: Final = 1.5
"""Snapshots on their way to the disk may come to half as much as those that stay in memory."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded model. context: bytes of one that is full; slots: how many it needs."""

    context: int
    slots: int

    def max_useful_bytes(self, settings: Settings) -> int:
        """Compute the spare bytes that it could use."""
        return self._spare(settings) * self.context + int(
            settings.kv_ram_mb * MEGABYTE * RESERVED_BYTES
        )

    def set_limits(self, part: int, settings: Settings) -> SetLimits:
        """Compute limits for `part` spare bytes: half of them for contexts."""
        snapshots = int(settings.kv_ram_mb * MEGABYTE * RESERVED_BYTES)
        contexts = max(part // 2, part - snapshots)
        spare = min(self._spare(settings), contexts // max(1, self.context))
        rest = part - spare * self.context
        ram_mb = min(settings.kv_ram_mb, int(rest / RESERVED_BYTES) // MEGABYTE)
        return SetLimits(self.slots + spare, ram_mb)

    def size(self, limits: SetLimits) -> int:
        """Bytes that `set_limits` grants beyond the slots."""
        spare = (limits.contexts - self.slots) * self.context
        return spare + int(limits.ram_mb * MEGABYTE * RESERVED_BYTES)

    def _spare(self, settings: Settings) -> int:
        most = settings.kv_memory_mb * MEGABYTE // max(1, self.context)
        return max(0, min(MAX_CONTEXTS, most) - self.slots)


def distribute(
    free: int, models: Mapping[str, LoadedModel], settings: Settings
) -> dict[str, SetLimits]:
    """Share `free` bytes out evenly; a model that can use less than its share gets less."""
    bounds = {}
    by_need = sorted(models.items(), key=lambda item: item[1].max_useful_bytes(settings))
    for place, (name, model) in enumerate(by_need):
        part = min(model.max_useful_bytes(settings), max(0, free) // (len(by_need) - place))
        bounds[name] = model.set_limits(part, settings)
        free -= part
    return bounds


MemoryNeed = Mapping[str, int]
"""Bytes by the memory that they are in: main memory, or a device's own by its name."""
MAIN: Final = ""


# Room in memory for all models: who may be loaded, who leaves for it, and who waits.
#
# Those who wait are served in their order, and hold nothing while they wait, so no two of them can
# wait for each other. Idle models leave at once, the least recently used first. When that is not
# enough, busy ones are asked to leave after what they have in line by then: nobody is kept out for
# ever. Devices have memory of their own: a model leaves only where what is short is what it holds.


class MemoryHolder(Protocol):
    """Holder of memory; in earnest a Worker."""

    name: str

    @property
    def state(self) -> ModelState: ...

    @property
    def last_used(self) -> float: ...
    @property
    def is_busy(self) -> bool: ...
    def unload_after_current(self) -> None: ...
    def cancel_unload(self) -> None: ...


class MemoryBudget:
    """`budget` of main memory in bytes; `holders` gives those there are now."""

    def __init__(self, budget: int, holders: Callable[[], Iterable[MemoryHolder]]) -> None:
        self.budget = budget
        self._devices: dict[str, int] = {}
        self._holders = holders
        self._reserved: dict[str, MemoryNeed] = {}
        self._waiting: deque[str] = deque()
        self._asked: set[str] = set()
        self._news = asyncio.Event()

    def reserved_bytes(self, name: str) -> int:
        """Return the bytes of main memory set aside for a model; 0 for one that is not loaded."""
        return self._reserved.get(name, {}).get(MAIN, 0)

    @property
    def free(self) -> int:
        """Bytes of main memory that no model holds."""
        return self.budget - self.held(MAIN)

    def held(self, memory: str) -> int:
        """Bytes of a memory that models hold."""
        return sum(need.get(memory, 0) for need in self._reserved.values())

    def set_devices(self, devices: Mapping[str, int]) -> None:
        """Set the bytes that models may take on each device."""
        self._devices = dict(devices)
        self.notify()

    def free_on(self, memory: str) -> int:
        """Bytes of a memory that no model holds; none of a device that there is not."""
        whole = self.budget if memory == MAIN else self._devices.get(memory, 0)
        return whole - self.held(memory)

    def can_ever_fit(self, need: MemoryNeed) -> bool:
        """Tell whether there is as much memory when no other model is loaded."""
        return need.get(MAIN, 0) <= self.budget and all(
            size <= self._devices.get(name, 0) for name, size in need.items() if name != MAIN
        )

    def _short(self, need: MemoryNeed, leaving: Iterable[MemoryHolder]) -> set[str]:
        """The memories that lack bytes for `need` even when those have left."""
        going = [self._reserved[holder.name] for holder in leaving]
        return {
            memory
            for memory, size in need.items()
            if size > self.free_on(memory) + sum(held.get(memory, 0) for held in going)
        }

    def release(self, name: str) -> None:
        """Release a model's memory: it is not loaded any more."""
        self._reserved.pop(name, None)
        self.notify()

    def notify(self) -> None:
        """Something has changed that may let somebody in."""
        self._news.set()

    async def reserve(
        self,
        name: str,
        choices: Sequence[MemoryNeed],
        notify: Callable[[str], None],
        is_needed: Callable[[], bool],
    ) -> int | None:
        """Wait for room, and take it; the index of the choice there was room for.

        choices: the best first, of which the last fits the budget. notify: hears whom it
        waits for. None when `is_needed` says that there is no use any more.
        """
        self._waiting.append(name)
        reported = ""
        try:
            while is_needed():
                self._news.clear()
                is_next = self._waiting[0] == name
                if is_next and (choice := self._try_reserve(choices)) is not None:
                    self._reserved[name] = choices[choice]
                    return choice
                if (sentence := self._sentence(name)) != reported:
                    reported = sentence
                    notify(sentence)
                await self._news.wait()
            return None
        finally:
            if self._waiting[0] == name:  # whoever was asked to leave was asked for this one
                asked, self._asked = self._asked, set()
                for holder in self._holders():
                    if holder.name in asked:
                        holder.cancel_unload()
            self._waiting.remove(name)
            self.notify()

    def _try_reserve(self, choices: Sequence[MemoryNeed]) -> int | None:
        """The best choice that fits now; None after those who must leave have been asked to."""
        if not self._short(choices[0], ()):
            return 0
        holders = sorted(
            (t for t in self._holders() if t.name in self._reserved), key=lambda t: t.last_used
        )
        leaving = [t for t in holders if t.state is ModelState.UNLOADING]
        for holder in holders:
            short = self._short(choices[0], leaving)
            if not short:
                break
            is_idle = holder.state is ModelState.READY and not holder.is_busy
            if is_idle and self._holds(holder, short):
                holder.unload_after_current()
                leaving.append(holder)
        if leaving:
            return None
        for index, choice in enumerate(choices):
            if not self._short(choice, ()):
                return index
        # Those that have been asked already come first, so that no more are asked than needed.
        for holder in sorted(holders, key=lambda t: t.name not in self._asked):
            short = self._short(choices[-1], leaving)
            if not short:
                break
            if self._holds(holder, short):
                self._asked.add(holder.name)
                holder.unload_after_current()
                leaving.append(holder)
        return None

    def _holds(self, holder: MemoryHolder, memories: Iterable[str]) -> bool:
        held = self._reserved[holder.name]
        return any(held.get(memory, 0) > 0 for memory in memories)

    def _sentence(self, name: str) -> str:
        if self._waiting[0] != name:
            return f"Waiting for memory: {self._waiting[0]} comes first"
        busy = sorted(self._asked & self._reserved.keys())
        if not busy:
            return "Waiting for memory: another model is being unloaded"
        verb = "are" if len(busy) > 1 else "is"
        return f"Waiting for memory: {' and '.join(busy)} {verb} answering"
