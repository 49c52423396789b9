"""The live contexts of one engine: which there are, which are free, which one a request gets."""

from __future__ import annotations

from collections.abc import Sequence

from app.inference.protocol import MAX_CONTEXTS
from app.inference.runner.engines.engine import Engine, EngineError
from app.inference.runner.kv.live import LiveContext
from app.inference.runner.kv.matching import PrefixSource


class ContextSlots:
    """Up to `size`, made when needed. Not safe for threads: the pool's lock is held around every
    call."""

    def __init__(self, engine: Engine, size: int) -> None:
        self.all: list[LiveContext] = []
        self.free: list[LiveContext] = []
        self._engine = engine
        self._size = size
        self._uses = 0

    def acquire(self, sources: Sequence[PrefixSource], key: str) -> LiveContext:
        """The one to use for the chat `key`, where `sources` hold its beginning, the best first.

        Raises EngineError when every context is in use.
        """
        live = self._best(sources, key)
        live.uses += 1  # whoever copies from it behind our back sees that it is gone
        if live in self.free:
            self.free.remove(live)
        return live

    def release(self, live: LiveContext) -> None:
        self._uses += 1
        live.last_used = self._uses
        self.free.append(live)

    def take_oldest(self) -> LiveContext | None:
        """The idle one that holds something and was not used for longest; the caller's until it is
        put back."""
        idle = [live for live in self.free if live.tokens]
        if not idle:
            return None
        live = min(idle, key=lambda live: live.last_used)
        live.uses += 1
        self.free.remove(live)
        return live

    def put_back(self, live: LiveContext) -> None:
        self.free.append(live)

    def discard(self, live: LiveContext) -> None:
        if live in self.free:
            self.free.remove(live)
        live.close()
        self.all.remove(live)

    def set_limits(self, size: int) -> list[LiveContext]:
        """From now on at most so many. Taken out are those too many that nobody uses, the least
        recently used first; they are to be discarded."""
        self._size = max(1, min(size, MAX_CONTEXTS))
        surplus = sorted(self.free, key=lambda live: live.last_used)
        surplus = surplus[: max(0, len(self.all) - self._size)]
        for live in surplus:
            live.uses += 1
            self.free.remove(live)
        return surplus

    def _best(self, sources: Sequence[PrefixSource], key: str) -> LiveContext:
        if sources and sources[0].tier == "live":
            assert isinstance(sources[0].entry, LiveContext)  # noqa: S101 - by its tier
            return sources[0].entry
        if own := next((live for live in self.free if key and live.chat == key), None):
            return own
        if fresh := self._empty_or_new():
            return fresh
        if not self.free:
            raise EngineError("every context is in use")
        return min(self.free, key=lambda live: live.last_used)

    def _empty_or_new(self) -> LiveContext | None:
        if empty := next((live for live in self.free if not live.tokens), None):
            return empty
        if len(self.all) >= self._size:
            return None
        try:
            self.all.append(LiveContext(self._engine, self._engine.new_context()))
        except EngineError:
            if not self.all:
                raise
            self._size = len(self.all)  # memory is full: live with what there is
            return None
        return self.all[-1]
