"""KV that stays with the chat: three tiers, and the choice of what a request starts from.

Live contexts are at hand at once; snapshots in RAM take a copy (a hundredth of evaluating the
tokens again); snapshots on the disk also a read and a checksum. A request takes the longest
beginning that any of them holds, whoever's it is, and evaluates only the rest.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np

from app.inference.engine import Engine, EngineError
from app.inference.kv_choice import (
    WORTH_KEEPING,
    Asker,
    Holder,
    Source,
    is_worth_keeping,
    ranked,
)
from app.inference.kv_disk import DiskSnapshots
from app.inference.kv_ram import RamSnapshots
from app.inference.kv_writer import IDLE, KvWriter
from app.inference.live import LiveContext
from app.inference.protocol import Tier
from app.inference.snapshot import Entry, Ids, Runs, Snapshot, common_prefix
from app.inference.snapshots import chat_key

log = logging.getLogger(__name__)

MAX_CONTEXTS = 56  # see llama_cpp_engine
WRITING_SHARE = 2
"""What waits to be written takes at most this part of what snapshots in memory may take."""
WORTH_WRITING = 16
"""Tokens that the disk lacks of a chat that has a snapshot there already; fewer can wait."""


class Taken(NamedTuple):
    """A context for a request, how many of its tokens it holds already, and from where."""

    live: LiveContext
    cached: int
    tier: Tier


def pool_size(kv_budget: int, context_length: int, kv_bytes_per_token: int) -> int:
    """How many contexts `kv_budget` bytes pay for when all are full; at least one."""
    each = max(1, context_length * kv_bytes_per_token)
    return min(MAX_CONTEXTS, max(1, kv_budget // each))


class ContextPool:
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
        idle: float = IDLE,
    ) -> None:
        self._engine = engine
        self._size = size
        self._permit = permit
        self._time = clock
        self._all: list[LiveContext] = []
        self._free: list[LiveContext] = []
        self._uses = 0
        self._ram = RamSnapshots(ram_budget)
        self._disk = disk
        limit = ram_budget // WRITING_SHARE
        self._writer = KvWriter(disk, limit, self.write_behind, idle) if disk else None
        self._forgotten: set[str] = set()
        self._wish = size, ram_budget
        self._lock = threading.Lock()  # never held while states are copied
        self._acquiring = threading.Lock()

    # A request begins and ends.

    def acquire(
        self, tokens: Sequence[int], chat: str = "", *, owner: str = "", shared: int = 0
    ) -> Taken:
        """A context that holds as much of the beginning of `tokens` as can be had.

        owner: whose request it is; of what others have read at most `shared` tokens are taken.

        At least the last token is left to evaluate, since only that yields logits. Raises
        EngineError when every context is in use.
        """
        key, wanted = chat_key(chat), np.asarray(tokens[:-1], np.int32)
        asker = Asker(key, owner, shared)
        with self._acquiring:
            with self._lock:
                sources = ranked(self._holders(), self._free, wanted, asker)
                live = self._target(sources, key)
                others = [o for o in self._holders() if o is not live]
                keep = is_worth_keeping(live, others, wanted, asker)
                if sources and isinstance(sources[0].held, Snapshot):
                    self._ram.use(sources[0].held)  # now, lest what is kept pushes it out
            try:
                if keep:
                    self._demote(live)
                common, tier = self._fill(live, sources, wanted)
                del live.tokens[common:]
            except BaseException:
                live.tokens, live.chat, live.owner = [], "", ""
                self.release(live)
                raise
            live.chat, live.owner, live.spelled = key, owner, ()
        return Taken(live, common, tier)

    def release(self, live: LiveContext, spelled: Runs = ()) -> None:
        """Give it back; `spelled`: what must be kept to spell its chat in the same tokens again."""
        with self._lock:
            self._uses += 1
            live.last_used = self._uses
            live.spelled = spelled
            if live.chat in self._forgotten:
                self._discard(live)
            else:
                self._free.append(live)
        if self._writer:
            self._writer.stir()

    def spelled(self, chat: str) -> Runs:
        """What `release` was given for this chat, wherever it is kept now."""
        key = chat_key(chat)
        with self._lock:
            holders = self._holders() if key else []
        return next((h.spelled for h in holders if h.chat == key and h.spelled), ())

    # What becomes of states that nobody uses.

    def forget(self, chat: str) -> None:
        """Drop everything that is kept of a chat; for good, so its id must never come again."""
        key = chat_key(chat)
        if not key:
            return
        with self._lock:
            self._forgotten.add(key)
            self._ram.forget(key)
            # Those in use go when they are released.
            for live in [live for live in self._free if live.chat == key]:
                self._free.remove(live)
                self._discard(live)
        if self._disk and self._writer:
            self._writer.forget(key)
            self._disk.forget(key)

    def write_behind(self) -> int:
        """Write the newest live state that is worth it, if nothing runs. Its bytes, or 0."""
        with self._lock:
            if len(self._free) < len(self._all):
                return 0
            live = next(iter(self._unwritten()), None)
        if live is None or self._disk is None:
            return 0
        with self._permit():
            snapshot = _copied(live)
        if snapshot is None or not self._disk.save(snapshot):
            return 0
        return snapshot.size

    def save_all(self, seconds: float) -> int:
        """Write to the disk what is worth it, newest first, until the time is over. How many."""
        if self._disk is None or self._writer is None:
            return 0
        end, saved = self._time() + seconds, 0
        self._writer.close()
        waited = self._acquiring.acquire(timeout=max(0.0, seconds))  # for what `bound` lets go
        with self._lock:
            live = self._unwritten()
            kept = [s for s in reversed(self._in_memory()) if not s.is_on_disk]
        if waited:
            self._acquiring.release()
        everything: list[LiveContext | Snapshot] = [*live, *kept]
        for held in everything:
            if self._time() >= end:
                break
            snapshot = held if isinstance(held, Snapshot) else _copied(held)
            if snapshot is not None and self._is_unwritten(snapshot.chat, snapshot.tokens):
                saved += self._disk.save(snapshot)
        return saved

    def bound(self, size: int, ram_budget: int) -> None:
        """From now on at most so many contexts, of which those in use stay, and bytes in memory.

        What they held goes to the disk, if there is one and it is worth it. That takes a while; of
        several calls at once the latest counts.
        """
        self._wish = size, ram_budget
        with self._acquiring:
            with self._lock:
                size, ram_budget = self._wish
                self._size = max(1, min(size, MAX_CONTEXTS))
                surplus = sorted(self._free, key=lambda live: live.last_used)
                surplus = surplus[: max(0, len(self._all) - self._size)]
                for live in surplus:
                    live.uses += 1
                    self._free.remove(live)
                evicted = self._ram.bound(ram_budget)
                if self._writer:
                    self._writer.bound(ram_budget // WRITING_SHARE)
            # They had their memory before: each gives it back when it is written.
            for old in evicted:
                self._spill(old, whatever_waits=True)
            for live in surplus:
                if self._is_unwritten(live.chat, np.array(live.tokens, np.int32)):
                    with self._permit():
                        snapshot = _copied(live)
                    if snapshot is not None:
                        self._spill(snapshot, whatever_waits=True)
                with self._lock:
                    self._discard(live)

    def close(self) -> None:
        """Closes the contexts that are not in use."""
        if self._writer:
            self._writer.close()
        with self._lock:
            for live in self._free:
                self._discard(live)
            self._free.clear()

    # Choosing. The caller holds the lock.

    def _holders(self) -> list[Holder]:
        """Everything that holds a chat's beginning."""
        entries = self._disk.entries() if self._disk else []
        return [*self._all, *self._in_memory(), *entries]

    def _target(self, sources: list[Source], key: str) -> LiveContext:
        """The context to use, taken out of the free ones."""
        live = self._best_target(sources, key)
        live.uses += 1  # whoever copies from it behind our back sees that it is gone
        if live in self._free:
            self._free.remove(live)
        return live

    def _best_target(self, sources: list[Source], key: str) -> LiveContext:
        if sources and sources[0].tier == "live":
            assert isinstance(sources[0].held, LiveContext)  # noqa: S101 - by its tier
            return sources[0].held
        if own := next((live for live in self._free if key and live.chat == key), None):
            return own
        if fresh := self._empty_or_new():
            return fresh
        if not self._free:
            raise EngineError("every context is in use")
        return min(self._free, key=lambda live: live.last_used)

    def _empty_or_new(self) -> LiveContext | None:
        if empty := next((live for live in self._free if not live.tokens), None):
            return empty
        if len(self._all) >= self._size:
            return None
        try:
            self._all.append(LiveContext(self._engine.new_context()))
        except EngineError:
            if not self._all:
                raise
            self._size = len(self._all)  # memory is full: live with what there is
            return None
        return self._all[-1]

    def _unwritten(self) -> list[LiveContext]:
        """Live states that are worth writing, newest first."""
        found = [
            live
            for live in self._free
            if self._is_unwritten(live.chat, np.array(live.tokens, np.int32))
        ]
        return sorted(found, key=lambda live: live.last_used, reverse=True)

    def _in_memory(self) -> list[Snapshot]:
        """Snapshots in RAM, and those on their way to the disk; oldest first."""
        return [*(self._writer.pending() if self._writer else []), *self._ram.all()]

    # Copying. The caller has taken the context, so nobody else steps it.

    def _demote(self, live: LiveContext) -> None:
        with self._permit():
            snapshot = _copied(live)
        if snapshot is not None:
            self._keep(snapshot)

    def _keep(self, snapshot: Snapshot) -> None:
        with self._lock:
            if snapshot.chat in self._forgotten:
                return
            evicted = self._ram.put(snapshot)
        for old in evicted:
            self._spill(old)

    def _spill(self, old: Snapshot, *, whatever_waits: bool = False) -> None:
        if self._writer and self._is_unwritten(old.chat, old.tokens):
            self._writer.spill(old, whatever_waits=whatever_waits)

    def _fill(self, live: LiveContext, sources: list[Source], wanted: Ids) -> tuple[int, Tier]:
        """Brings the best source that is good into the context. What it holds then, and whence."""
        for source in sources:
            if source.held is live:
                if len(live.tokens) < source.common:
                    continue  # a better one that failed has spoiled it
                return source.common, "live"
            try:
                with self._loaded(source, wanted) as snapshot:
                    live.restore(snapshot.state, snapshot.tokens)
            except (_Gone, EngineError, MemoryError, ValueError) as error:
                log.debug("A kept state could not be used: %s", error)
            else:
                return source.common, source.tier
        live.tokens = []
        return 0, "none"

    @contextlib.contextmanager
    def _loaded(self, source: Source, wanted: Ids) -> Iterator[Snapshot]:
        """The source's state, with a permit to copy it."""
        snapshot: Snapshot | None
        if isinstance(source.held, Entry):
            snapshot = self._disk.load(source.held) if self._disk else None
            if snapshot is None:
                raise _Gone
            self._keep(snapshot)
        with self._permit():
            if isinstance(source.held, LiveContext):
                tokens = wanted[: source.common]
                state = source.held.copy(tokens)
                if state is None:
                    raise _Gone
                snapshot = Snapshot("", tokens, (), state)
            elif isinstance(source.held, Snapshot):
                snapshot = source.held
            assert snapshot is not None  # noqa: S101 - for the type checker: one of the three
            yield snapshot

    def _is_unwritten(self, chat: str, tokens: Ids) -> bool:
        """Whether the disk lacks so much of this chat that writing is worth it."""
        if self._disk is None or not self._disk.is_open or not chat or tokens.size < WORTH_KEEPING:
            return False
        entry = self._disk.find(chat)
        known = common_prefix(entry.tokens, tokens) if entry else 0
        return tokens.size - known >= WORTH_WRITING

    def _discard(self, live: LiveContext) -> None:
        live.close()
        self._all.remove(live)


class _Gone(Exception):
    """What a source held is not there any more."""


def _copied(live: LiveContext) -> Snapshot | None:
    """What it holds, or None when that cannot be had."""
    try:
        return live.snapshot()
    except (EngineError, MemoryError) as error:
        log.warning("A chat's state was not kept: %s", error)
        return None
