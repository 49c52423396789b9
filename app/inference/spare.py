"""Shares out the memory that loaded models leave: it keeps more chats at hand.

Beside weights and the contexts of their slots, runners may hold spare contexts and snapshots in
memory. Nobody needs them, so they get what is left of the budget, and give it back as soon as
another model is to be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.config import Settings
from app.inference.protocol import MAX_CONTEXTS, SetLimits

MEGABYTE: Final = 1 << 20
RESERVED_BYTES: Final = 1.5
"""Snapshots on their way to the disk may come to half as much as those that stay in memory."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded model. context: bytes of one that is full; slots: how many it needs."""

    context: int
    slots: int

    def max_useful_bytes(self, settings: Settings) -> int:
        """Bytes that it could do something with."""
        return self._spare(settings) * self.context + int(
            settings.kv_ram_mb * MEGABYTE * RESERVED_BYTES
        )

    def set_limits(self, part: int, settings: Settings) -> SetLimits:
        """What it may hold, with `part` bytes for what is spare: half of them for contexts."""
        snapshots = int(settings.kv_ram_mb * MEGABYTE * RESERVED_BYTES)
        contexts = max(part // 2, part - snapshots)
        spare = min(self._spare(settings), contexts // max(1, self.context))
        rest = part - spare * self.context
        ram_mb = min(settings.kv_ram_mb, int(rest / RESERVED_BYTES) // MEGABYTE)
        return SetLimits(self.slots + spare, ram_mb)

    def size(self, bound: SetLimits) -> int:
        """Bytes that `set_limits` grants beyond the slots."""
        spare = (bound.contexts - self.slots) * self.context
        return spare + int(bound.ram_mb * MEGABYTE * RESERVED_BYTES)

    def _spare(self, settings: Settings) -> int:
        most = settings.kv_memory_mb * MEGABYTE // max(1, self.context)
        return max(0, min(MAX_CONTEXTS, most) - self.slots)


def distribute(
    free: int, lodgers: Mapping[str, LoadedModel], settings: Settings
) -> dict[str, SetLimits]:
    """What each may hold of `free` bytes: as much as the others, or its wish if that is less."""
    bounds = {}
    by_wish = sorted(lodgers.items(), key=lambda item: item[1].max_useful_bytes(settings))
    for place, (name, model) in enumerate(by_wish):
        part = min(model.max_useful_bytes(settings), max(0, free) // (len(by_wish) - place))
        bounds[name] = model.set_limits(part, settings)
        free -= part
    return bounds
