"""KV that stays with the chat: three tiers, and the choice of what a request starts from.

Live contexts are at hand at once; snapshots in RAM take a copy (a hundredth of evaluating the
tokens again); snapshots on the disk also a read and a checksum. A request starts from the longest
prefix that any of them holds, of another user's at most the system prompt, and evaluates only the
rest.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, TypeVar

import numpy as np

from app.inference.kv_files import chat_key
from app.inference.protocol import MAX_CONTEXTS, Tier
from app.inference.runner.engines.engine import CacheFull, Engine, EngineError, GoOn, Logits
from app.inference.runner.kv.disk import DiskSnapshots
from app.inference.runner.kv.live import (
    ContextSlots,
    LiveContext,
    LiveSlice,
    evaluate,
    evaluate_aside,
)
from app.inference.runner.kv.matching import (
    CacheEntry,
    CacheRequester,
    PrefixSource,
    rank_sources,
    should_keep,
)
from app.inference.runner.kv.snapshot import Ids, Snapshot, SnapshotEntry, TokenRuns
from app.inference.runner.kv.tiers import IDLE_SECONDS, SnapshotTiers

log = logging.getLogger(__name__)
T = TypeVar("T")


IDLE_TOKENS: Final = 4096
"""Tokens that idle contexts of a shared pool may hold, before a prompt is read beside them."""


class AcquiredContext(NamedTuple):
    """A context for a request, how many of its tokens it holds already, and from where."""

    live: LiveContext
    cached: int
    tier: Tier


def pool_size(kv_budget: int, context_length: int, kv_bytes_per_token: int) -> int:
    """Count the contexts that `kv_budget` bytes pay for when all are full; at least one."""
    each = max(1, context_length * kv_bytes_per_token)
    return min(MAX_CONTEXTS, max(1, kv_budget // each))


class KvCache:
    """Up to `size` contexts, made when needed, and the snapshots behind them.

    ram_budget: bytes of snapshots in memory. permit: held while native code copies a state, so
    that it takes its turn with the steps. idle: seconds of silence before live states are written
    behind. Any thread may acquire and release.
    """

    def __init__(
        self,
        engine: Engine,
        size: int,
        *,
        ram_budget: int = 0,
        disk: DiskSnapshots | None = None,
        permit: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
        clock: Callable[[], float] = time.monotonic,
        idle: float = IDLE_SECONDS,
        idle_tokens: int = IDLE_TOKENS,
    ) -> None:
        self.engine = engine
        self._idle_tokens = idle_tokens
        self._permit = permit
        self._time = clock
        self._limits = size, ram_budget
        self._lock = threading.Lock()  # never held while states are copied
        self._acquiring = threading.Lock()
        self._contexts = ContextSlots(engine, size)
        self._kept = SnapshotTiers(ram_budget, disk, self.write_behind, idle)

    # A request begins and ends.

    def acquire(
        self,
        tokens: Sequence[int],
        chat: str = "",
        *,
        owner: str = "",
        shared: int = 0,
        exact: bool = False,
    ) -> AcquiredContext:
        """A context that holds as much of the beginning of `tokens` as can be had.

        owner: whose request it is; of what others have read at most `shared` tokens are taken.
        exact: only what is the same as if all were evaluated now, see `LiveContext`.

        At least the last token is left to evaluate, since only that yields logits. Raises
        EngineError when every context is in use.
        """
        key, wanted = chat_key(chat), np.asarray(tokens[:-1], np.int32)
        exact = exact and self.engine.is_reproducible
        asker = CacheRequester(key, owner, shared, exact, self.engine.cuttable)
        with self._acquiring:
            with self._lock:
                sources = rank_sources(self._candidates(), self._contexts.free, wanted, asker)
                live = self._contexts.acquire(sources[0].in_place if sources else None, key)
                others = [o for o in self._candidates() if o is not live]
                keep = should_keep(live, others, wanted, asker)
                if sources and isinstance(sources[0].entry, Snapshot):
                    self._kept.touch(sources[0].entry)  # now, lest what is kept pushes it out
            try:
                if keep:
                    self._move_to_ram(live)
                common, tier = self._restore_prefix(live, sources, wanted)
                live.cut(common)
                if common > len(live.tokens):  # it could not be cut there
                    common, tier = 0, "none"
                    live.cut(0)
            except BaseException:
                live.cut(0)
                live.chat, live.owner, live.shared = "", "", 0
                self.release(live)
                raise
            live.chat, live.owner, live.shared, live.token_runs = key, owner, shared, ()
        return AcquiredContext(live, common, tier)

    def evaluate(self, step: Sequence[LiveSlice], threads: int) -> list[Logits]:
        """Evaluate a step of contexts that are in use; idle ones make room for it. The caller holds
        a permit. Raises as `live.evaluate` does."""
        return self._making_room(lambda: evaluate(self.engine, step, threads))

    def evaluate_aside(self, part: LiveSlice, threads: int, go_on: GoOn) -> bool:
        """Evaluate rows of a picture beside the steps; False where they must be one."""
        return self._making_room(lambda: evaluate_aside(self.engine, part, threads, go_on))

    def limit_idle(self) -> None:
        """Move the idle context that was not used for longest to RAM, where they hold too much.

        In a shared pool every step looks at the cells of all, and a state is back from RAM in
        milliseconds. The caller holds a permit.
        """
        if self.engine.max_slices == 1 or not self._limits[1]:
            return
        with self._lock:
            held = sum(len(live.tokens) for live in self._contexts.free)
        if held > self._idle_tokens:
            self._evict()

    def release(self, live: LiveContext, spelled: TokenRuns = ()) -> None:
        """Give it back; `spelled`: what must be kept to spell its chat in the same tokens
        again."""
        with self._lock:
            live.token_runs = spelled
            self._contexts.release(live)
            if self._kept.is_deleted(live):
                self._contexts.discard(live)
        self._kept.wake_writer()

    def token_runs(self, chat: str) -> TokenRuns:
        """Find what `release` was given for this chat, wherever it is kept now."""
        key = chat_key(chat)
        with self._lock:
            holders = self._candidates() if key else []
        return next((h.token_runs for h in holders if h.chat == key and h.token_runs), ())

    # What becomes of states that nobody uses.

    def delete(self, chat: str, owner: str = "") -> None:
        """Drop everything that is kept of a chat, or what memory holds of an owner; for good, so
        neither must ever come again."""
        key = chat_key(chat)
        self._kept.delete(key, owner)
        with self._lock:  # those in use go when they are released
            for live in [live for live in self._contexts.free if self._kept.is_deleted(live)]:
                self._contexts.discard(live)

    def write_behind(self) -> int:
        """Write the newest live state that is worth it, if nothing runs. Its bytes, or 0."""
        with self._lock:
            if len(self._contexts.free) < len(self._contexts.all):
                return 0
            live = next(iter(self._unwritten()), None)
        if live is None:
            return 0
        with self._permit():
            snapshot = _try_snapshot(live)
        if snapshot is None or not self._kept.save(snapshot):
            return 0
        return snapshot.size

    def save_all(self, seconds: float) -> int:
        """Write to the disk what is worth it, newest first, until the time is over. How many."""
        if not self._kept.has_disk:
            return 0
        end, saved = self._time() + seconds, 0
        self._kept.close()
        waited = self._acquiring.acquire(timeout=max(0.0, seconds))  # for what `set_limits` lets go
        with self._lock:
            live = self._unwritten()
            kept = [s for s in reversed(self._kept.in_memory()) if not s.is_on_disk]
        if waited:
            self._acquiring.release()
        everything: list[LiveContext | Snapshot] = [*live, *kept]
        for held in everything:
            if self._time() >= end:
                break
            snapshot = held if isinstance(held, Snapshot) else _try_snapshot(held)
            if snapshot is not None and self._kept.is_unwritten(snapshot.chat, snapshot.tokens):
                saved += self._kept.save(snapshot)
        return saved

    def set_limits(self, size: int, ram_budget: int) -> None:
        """Keep at most so many contexts, of which those in use stay, and bytes in memory.

        What they held goes to the disk, if there is one and it is worth it. That takes a while; of
        several calls at once the latest counts.
        """
        self._limits = size, ram_budget
        with self._acquiring:
            with self._lock:
                size, ram_budget = self._limits
                surplus = self._contexts.set_limits(size)
            self._kept.set_limits(ram_budget)
            for live in surplus:
                if self._is_unwritten(live):
                    with self._permit():
                        snapshot = _try_snapshot(live)
                    if snapshot is not None:
                        self._kept.enqueue_write(snapshot, whatever_waits=True)
                with self._lock:
                    self._contexts.discard(live)

    def close(self) -> None:
        """Closes the contexts that are not in use."""
        self._kept.close()
        with self._lock:
            for live in list(self._contexts.free):
                self._contexts.discard(live)

    # Looking. The caller holds the lock.

    def _candidates(self) -> list[CacheEntry]:
        """List everything that holds a chat's beginning."""
        return [*self._contexts.all, *self._kept.holders()]

    def _unwritten(self) -> list[LiveContext]:
        """Live states that are worth writing, newest first."""
        found = [live for live in self._contexts.free if self._is_unwritten(live)]
        return sorted(found, key=lambda live: live.last_used, reverse=True)

    def _is_unwritten(self, live: LiveContext) -> bool:
        return self._kept.is_unwritten(live.chat, np.array(live.tokens, np.int32))

    # Copying. The caller has taken the context, so nobody else steps it.

    def _move_to_ram(self, live: LiveContext) -> None:
        with self._permit():
            snapshot = _try_snapshot(live)
        if snapshot is not None:
            self._kept.keep(snapshot)

    def _restore_prefix(
        self, live: LiveContext, sources: list[PrefixSource], wanted: Ids
    ) -> tuple[int, Tier]:
        """Brings the best source that is good into the context. What it holds then, and whence."""
        for source in sources:
            if source.entry is live:
                if len(live.tokens) < source.common:
                    continue  # a better one that failed has spoiled it
                return source.common, "live"
            try:
                if isinstance(source.entry, LiveContext):
                    self._copy(live, source.entry, wanted[: source.common])
                else:
                    self._restore(live, source.entry)
            except (_SourceVanished, EngineError, MemoryError, ValueError) as error:
                log.debug("A kept state could not be used: %s", error)
            else:
                return source.common, source.tier
        live.cut(0)
        return 0, "none"

    def _copy(self, live: LiveContext, source: LiveContext, tokens: Ids) -> None:
        with self._permit():
            if not self._making_room(lambda: live.copy_from(source, tokens)):
                raise _SourceVanished

    def _restore(self, live: LiveContext, entry: Snapshot | SnapshotEntry) -> None:
        snapshot = self._kept.load(entry) if isinstance(entry, SnapshotEntry) else entry
        if snapshot is None:
            raise _SourceVanished
        with self._permit():
            self._making_room(lambda: live.restore(snapshot))

    def _making_room(self, action: Callable[[], T]) -> T:
        """Does it as soon as there are cells for it."""
        while True:
            try:
                return action()
            except CacheFull:
                if not self._evict():
                    raise

    def _evict(self) -> bool:
        """Frees the cells of the context that was not used for longest, if any is idle; what is
        worth it moves to RAM. The caller holds a permit."""
        with self._lock:
            live = self._contexts.take_oldest()
            if live is None:
                return False
            others = [other for other in self._candidates() if other is not live]
            keep = should_keep(live, others, np.empty(0, np.int32), CacheRequester(""))
        snapshot = _try_snapshot(live) if keep else None
        if snapshot is not None:
            self._kept.keep(snapshot)
        live.cut(0)
        live.chat, live.owner, live.shared, live.token_runs = "", "", 0, ()
        with self._lock:
            self._contexts.put_back(live)
        return True


class _SourceVanished(Exception):
    """Error of a source that does not hold any more what it held."""


def _try_snapshot(live: LiveContext) -> Snapshot | None:
    """Copy what it holds; None when that cannot be had."""
    try:
        return live.snapshot()
    except (EngineError, MemoryError) as error:
        log.warning("A chat's state was not kept: %s", error)
        return None
