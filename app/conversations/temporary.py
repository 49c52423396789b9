"""Temporary chats: in memory alone, from their first message until nobody looks at them.

They are the same chats, by the same code, on a database in memory; runners keep their KV states in
memory, too. Nothing of them is ever written to the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.conversations.chat_services import ChatServices
from app.conversations.chats import Trash
from app.conversations.hub import Hub
from app.db import attachments, temporary
from app.db import chats as db_chats
from app.db.connection import Database
from app.errors import ChatNotFound, WickError
from app.inference.worker_pool import WorkerPool

log = logging.getLogger(__name__)
SWEEP_SECONDS: Final = 5.0
PROGRAM_SECONDS: Final = 3600.0
"""Seconds without a request after which a chat ends that a program has begun: it has no tab."""


@dataclass(slots=True)
class _Lease:
    """Time of a chat: when it was last used, and how long it stays after that."""

    used: float
    seconds: float


class TemporaryChats:
    """Ends temporary chats when their tab has been closed for a while.

    grace: seconds after that, enough for a reload.
    """

    def __init__(
        self,
        services: ChatServices,
        db: Database,
        pool: WorkerPool,
        hub: Hub,
        grace: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.services = services
        self._db = db
        self._hub = hub
        self._grace = grace
        self._clock = clock
        self._trash = Trash(db, pool, hub)
        self._leases: dict[str, _Lease] = {}
        self._files_until = -math.inf

    def use(self, chat_id: str) -> ChatServices:
        """Return what this chat is used with, which keeps it a while longer."""
        lease = self._leases.setdefault(chat_id, _Lease(0.0, self._grace))
        lease.used = self._clock()
        return self.services

    def keep_for_program(self, chat_id: str) -> None:
        """Keep a chat that no tab shows, between two requests of a program."""
        self._leases[chat_id] = _Lease(self._clock(), max(PROGRAM_SECONDS, self._grace))

    def keep_files_for_program(self) -> None:
        """Keep files that a program has uploaded, until it begins a chat with them."""
        self._files_until = self._clock() + PROGRAM_SECONDS

    async def end(self, chat_id: str) -> None:
        """Stop what is answered in a chat and forget all of it, in runners as well."""
        self._leases.pop(chat_id, None)
        owner = await db_chats.owner(self._db, chat_id)
        if owner is not None:
            with contextlib.suppress(ChatNotFound):
                await self.services.chats.delete(owner, chat_id)
                await self._trash.remove(owner, chat_id)
        await self._db.write(lambda c: temporary.delete_settings(c, chat_id))
        await self._trash.purge()
        await self.services.pictures.sweep()

    async def end_all(self, user_id: int) -> None:
        """End all of one user."""
        for chat_id in await db_chats.list_ids(self._db, user_id):
            await self.end(chat_id)

    async def sweep(self) -> None:
        """End the chats that no tab shows, and that nobody has used for their time."""
        now = self._clock()
        for chat_id, lease in list(self._leases.items()):
            if self._hub.is_watched(chat_id):
                lease.used = now
            elif now - lease.used >= lease.seconds:
                await self.end(chat_id)
        if (
            not self._leases and now >= self._files_until
        ):  # files that nobody sent belong to no chat
            await self._db.write(lambda c: attachments.purge_unsent(c, math.inf))
        await self.services.pictures.sweep()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except WickError as error:
                log.warning("A temporary chat was not ended: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)
