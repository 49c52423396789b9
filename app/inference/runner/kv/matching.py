"""Choice of what a request starts from, and of what is too dear to be thrown away for it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from app.inference.protocol import Tier
from app.inference.runner.kv.live import LiveContext
from app.inference.runner.kv.snapshot import Ids, Snapshot, SnapshotEntry, common_prefix
from app.inference.runner.threads import BLOCK

MIN_KEPT_TOKENS = 64
"""Tokens that no other place holds: fewer are evaluated again sooner than copied."""

CacheEntry = LiveContext | Snapshot | SnapshotEntry


@dataclass(frozen=True, slots=True)
class PrefixSource:
    """Something that holds the first `common` tokens; `cost`: of using it, in tokens evaluated."""

    entry: CacheEntry
    tier: Tier
    common: int
    cost: int

    @property
    def value(self) -> tuple[int, int]:
        """Tokens it saves; of equal ones, the context that was used last."""
        used = self.entry.last_used if isinstance(self.entry, LiveContext) else 0
        return self.common - self.cost, used

    @property
    def in_place(self) -> LiveContext | None:
        """The context to go on in, where that holds the beginning."""
        if self.tier == "live" and isinstance(self.entry, LiveContext):
            return self.entry
        return None


@dataclass(frozen=True, slots=True)
class CacheRequester:
    """Request for a beginning. key: of the chat; owner: the user, empty where nobody minds.

    shared: tokens of the system prompt. Of what is somebody else's only those are taken, and only
    from that one's system prompt: an answer that begins sooner than it could would tell that
    another has asked just the same. exact: nothing
    may be taken that depends on how it was evaluated. cuttable: states of no more tokens can
    be cut anywhere.
    """

    key: str
    owner: str = ""
    shared: int = 0
    exact: bool = False
    cuttable: float = math.inf

    def owns(self, held: CacheEntry) -> bool:
        """Files do not tell whose they are, but a chat is always one user's."""
        if self.key and held.chat == self.key:
            return True
        return self.owner == ("" if isinstance(held, SnapshotEntry) else held.owner)

    def share(self, held: CacheEntry) -> float:
        """Count the first tokens that may be taken of what somebody holds."""
        return math.inf if self.owns(held) else min(self.shared, held.shared)


def rank_sources(
    holders: Iterable[CacheEntry], free: Collection[LiveContext], wanted: Ids, asker: CacheRequester
) -> list[PrefixSource]:
    """List what holds a beginning of `wanted` that is worth its cost, the best first.

    free: the contexts that are not in use.
    """
    sources = [_source(held, free, wanted, asker) for held in holders]
    worth = [source for source in sources if source.common > source.cost]
    return sorted(worth, key=lambda source: source.value, reverse=True)


def should_keep(
    live: LiveContext, others: Iterable[CacheEntry], wanted: Ids, asker: CacheRequester
) -> bool:
    """Tell whether a context holds much that is neither `wanted` now nor in any of `others`."""
    if asker.key and live.chat == asker.key:
        return False  # the chat itself went another way
    held = np.array(live.tokens, np.int32)
    kept = max((common_prefix(other.tokens, held) for other in others), default=0)
    # What is wanted may not be its owner's.
    stays = min(common_prefix(wanted, held), asker.share(live))
    return held.size - max(kept, stays) >= MIN_KEPT_TOKENS


def _source(
    held: CacheEntry, free: Collection[LiveContext], wanted: Ids, asker: CacheRequester
) -> PrefixSource:
    # The costs follow measured times: evaluating a token again takes some 4 ms, copying one 0.05,
    # reading one from the disk with its checksum 0.1. A snapshot is always restored whole.
    common, size = common_prefix(held.tokens, wanted), len(held.tokens)
    common = int(min(common, asker.share(held)))
    if asker.exact:
        # The last slice ends with the prompt, so what belongs to it is evaluated anew.
        common = min(common, held.exact, wanted.size // BLOCK * BLOCK)
    common = _reach(held, common, asker)
    if isinstance(held, SnapshotEntry):
        return PrefixSource(held, "disk", common, 16 + size // 24)
    if isinstance(held, Snapshot):
        return PrefixSource(held, "ram", common, 4 + size // 64)
    if held in free and _can_truncate(held, common, asker.key):
        return PrefixSource(held, "live", common, 0)
    return PrefixSource(held, "shared", common, 8 + common // 32)


def _reach(held: CacheEntry, common: int, asker: CacheRequester) -> int:
    """Count the tokens that are left of a state when it is cut to `common`."""
    if isinstance(held, LiveContext):
        return held.reach(common)
    size = len(held.tokens)
    if size <= asker.cuttable or common == size:
        return common
    return max((cut for cut in held.cuts if cut <= common), default=0)


def _can_truncate(live: LiveContext, common: int, key: str) -> bool:
    """Tell whether a context may be used in place, cutting away what it holds beyond `common`.

    A chat may cut its own; of others only if that saves more work than it loses: a system prompt
    alone is no reason to destroy another chat.
    """
    lost = len(live.tokens) - common
    if key and live.chat == key:
        return True
    return 2 * common >= lost and (lost < MIN_KEPT_TOKENS or not (key or live.chat))
