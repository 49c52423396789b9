"""Looking after the servers that models are configured with, and no others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from app.errors import WickError
from app.inference.remote.servers import Server, ServerPool, ServerStatus
from app.models.model import Model
from app.models.remote_check import HttpClients, check
from app.models.shelf import ModelStore

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
        """Of a remote model, as its folder has them."""
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
        """What the servers say of their window is kept with the model, for when they are away."""
        servers = self._by_name.get(model.name)
        known = [server.context for server in servers.all if server.context] if servers else []
        if not known or model.remote is None or model.remote.found == min(known):
            return
        with contextlib.suppress(WickError):  # it may have been removed meanwhile
            remote = replace(model.remote, found=min(known))
            await asyncio.to_thread(self._store.save_context, model.name, remote)
            self._changed()
