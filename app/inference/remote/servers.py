"""Servers of one remote model as they are now, and the monitor that checks their health."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from app.errors import WickError
from app.inference.remote.health import HttpClients, check
from app.inference.remote.request import TokenEstimator
from app.models.model import Model
from app.models.model_files import ASSUMED_CONTEXT
from app.models.store import ModelStore
from app.models.upstream import RemoteModel, Upstream

# The servers of one model as they are now: who answers, who has how much to do, who is next.


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
        """Leave it alone for a while: it said that it has too much to do."""
        self.busy_until = self._clock() + seconds

    def status(self) -> ServerStatus:
        return ServerStatus(
            self.upstream, self.health, self.since, self.trouble, self.note, self.outstanding
        )


class ServerPool:
    """Servers of one model. `listeners` are called when their health or their list changes."""

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
        """Mark a server that answered as ready. context: its window, None: unknown."""
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


# Looking after the servers that models are configured with, and no others.


log = logging.getLogger(__name__)
CHECK_SECONDS: Final = 15.0
MAX_CONCURRENT: Final = 8


class HealthMonitor:
    """The servers of every model that has some, by the model's name.

    changed: called when one of them is seen to be another than before.
    """

    def __init__(
        self, store: ModelStore, changed: Callable[[], None], seconds: float = CHECK_SECONDS
    ) -> None:
        self._store = store
        self._changed = changed
        self._seconds = seconds
        self._by_name: dict[str, ServerPool] = {}
        self._poked = asyncio.Event()
        self._turns = asyncio.Semaphore(MAX_CONCURRENT)

    def servers(self, model: Model) -> ServerPool:
        """Return the servers of a remote model, as its folder has them."""
        assert model.remote is not None  # noqa: S101 - the caller has looked
        servers = self._by_name.get(model.name)
        if servers is None:
            servers = self._by_name[model.name] = ServerPool(model.remote)
            servers.listeners.append(self._changed)
        servers.update(model.remote)
        return servers

    def status(self, name: str) -> list[ServerStatus]:
        """Empty for a model that has none, or has just been added."""
        servers = self._by_name.get(name)
        return [server.status() for server in servers.all] if servers else []

    def check_now(self) -> None:
        """Something was added or changed: look before it is time."""
        self._poked.set()

    async def run(self) -> None:
        """Looks at all of them again and again until it is cancelled."""
        clients = HttpClients()
        try:
            while True:
                self._poked.clear()
                try:
                    await self.check(clients)
                except WickError as error:
                    log.warning("The servers of models could not be looked at: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds):
                        await self._poked.wait()
        finally:
            await clients.close()

    async def check(self, clients: HttpClients) -> None:
        """One look at each server, some of them at the same time."""
        models = [m for m in await asyncio.to_thread(self._store.models) if m.remote is not None]
        for name in self._by_name.keys() - {model.name for model in models}:
            del self._by_name[name]
        looks = [
            self._check_server(servers, server, clients)
            for servers in map(self.servers, models)
            for server in servers.all
        ]
        await asyncio.gather(*looks)
        for model in models:
            await self._remember(model)

    async def _check_server(
        self, servers: ServerPool, server: Server, clients: HttpClients
    ) -> None:
        async with self._turns:
            found = await check(server.upstream, clients)
        if found.problem:
            servers.is_down(server, found.problem)
            return
        note = ""
        if found.others:
            note = (
                f"{server.upstream.host} lists no model “{server.upstream.model}”; "
                f"it has {', '.join(found.others)}."
            )
        servers.is_up(server, context=found.context, note=note)

    async def _remember(self, model: Model) -> None:
        """Save what the servers say of their window with the model, for when they are away."""
        servers = self._by_name.get(model.name)
        known = [server.context for server in servers.all if server.context] if servers else []
        if not known or model.remote is None or model.remote.found == min(known):
            return
        with contextlib.suppress(WickError):  # it may have been removed meanwhile
            remote = replace(model.remote, found=min(known))
            await asyncio.to_thread(self._store.save_context, model.name, remote)
            self._changed()
