"""The servers of one model as they are now: who answers, who has how much to do, who is next."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from app.inference.remote.sizes import TokenEstimator
from app.models.remote import ASSUMED_CONTEXT
from app.models.upstream import RemoteModel, Upstream

CHATS: Final = 4096  # of which is remembered who answered last
Health = Literal["unknown", "ready", "down"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server for the pages. trouble: why it is down, a sentence; since: when that, or that it
    is ready, was seen first; note: what a person may want to know though it is ready."""

    upstream: Upstream
    health: Health
    since: dt.datetime | None
    trouble: str
    note: str
    running: int


class Server:
    """One server. context: tokens of its window as it says, limit: as it once refused more;
    outstanding: answers it is making for us; is_plain: it refuses fields that others know;
    busy_until: by the clock, when it may be asked again."""

    def __init__(self, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        self.upstream = upstream
        self.sizes = TokenEstimator()
        self.health: Health = "unknown"
        self.since: dt.datetime | None = None
        self.trouble = ""
        self.note = ""
        self.context: int | None = None
        self.limit: int | None = None
        self.outstanding = 0
        self.is_plain = False
        self.busy_until = 0.0
        self.last_asked = 0.0
        self._clock = clock

    @property
    def busy_for(self) -> float:
        """Seconds until it may be asked again."""
        return max(0.0, self.busy_until - self._clock())

    @property
    def has_room(self) -> bool:
        return self.outstanding < self.upstream.parallel

    def back_off(self, seconds: float) -> None:
        """It said that it has too much to do."""
        self.busy_until = self._clock() + seconds

    def status(self) -> ServerStatus:
        return ServerStatus(
            self.upstream, self.health, self.since, self.trouble, self.note, self.outstanding
        )


class ServerPool:
    """All servers of one model. `listeners` hear of changed health and of other servers."""

    def __init__(self, remote: RemoteModel, clock: Callable[[], float] = time.monotonic) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.remote = remote
        self._clock = clock
        self._servers = [Server(upstream, clock) for upstream in remote.upstreams]
        self._news = asyncio.Event()
        self._last: OrderedDict[str, Server] = OrderedDict()

    @property
    def all(self) -> tuple[Server, ...]:
        return tuple(self._servers)

    @property
    def slots(self) -> int:
        """Answers at once that those which are not known to be down can make."""
        up = [s for s in self._servers if s.health != "down"] or self._servers
        return sum(server.upstream.parallel for server in up)

    @property
    def window(self) -> int:
        """Tokens that every one of them holds."""
        known = [server.context for server in self._servers if server.context]
        found = min(known) if known else self.remote.found
        limits = [server.limit for server in self._servers if server.limit]
        return min([self.remote.context or found or ASSUMED_CONTEXT, *limits])

    def update(self, remote: RemoteModel) -> None:
        """The person has changed something; servers that stay keep what is known of them."""
        if remote == self.remote:
            return
        known = {server.upstream: server for server in self._servers}
        self.remote = remote
        self._servers = [known.get(up) or Server(up, self._clock) for up in remote.upstreams]
        self._notify()

    def is_up(self, server: Server, *, context: int | None = None, note: str = "") -> None:
        """It has answered. context: what it said of its window, None: nothing."""
        server.context = context or server.context
        self._set(server, "ready", "", note)

    def is_down(self, server: Server, trouble: str) -> None:
        self._set(server, "down", trouble, "")

    async def acquire(self, tried: Collection[Server], chat: str = "") -> Server | None:
        """The one with the least to do for us, when it has room; None when all were tried.

        Those that are known to be down are asked only when no other is left. Among equals it is
        the one that was asked for this chat last, whose own cache may still hold it.
        """
        while True:
            self._news.clear()
            choice = self._choose([s for s in self._servers if s not in tried], chat)
            if choice is not None:
                choice.outstanding += 1
                choice.last_asked = self._clock()
                self._remember(chat, choice)
                return choice
            if all(server in tried for server in self._servers):
                return None
            await self._news.wait()

    def release(self, server: Server) -> None:
        server.outstanding -= 1
        self._news.set()

    def _remember(self, chat: str, server: Server) -> None:
        if chat:
            self._last[chat] = server
            self._last.move_to_end(chat)
            if len(self._last) > CHATS:
                self._last.popitem(last=False)

    def _choose(self, left: Iterable[Server], chat: str) -> Server | None:
        last = self._last.get(chat)

        def rank(s: Server) -> tuple[bool, bool, int, bool, float]:
            return s.health == "down", s.busy_for > 0, s.outstanding, s is not last, s.last_asked

        order = sorted(left, key=rank)
        if not order:
            return None
        best = order[0].health == "down", order[0].busy_for > 0
        alike = [s for s in order if (s.health == "down", s.busy_for > 0) == best]
        return next((server for server in alike if server.has_room), None)

    def _set(self, server: Server, health: Health, trouble: str, note: str) -> None:
        before = (server.health, server.trouble, server.note)
        if server.health != health:
            server.since = dt.datetime.now().astimezone()
        server.health, server.trouble, server.note = health, trouble, note
        if before != (health, trouble, note):
            self._notify()

    def _notify(self) -> None:
        self._news.set()
        for listener in tuple(self.listeners):
            listener()
