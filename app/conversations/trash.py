"""The trash: chats lie there for 30 days, then they are gone for good."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable

from app.background import BackgroundTasks
from app.conversations.hub import Hub
from app.db import chats, import_holders
from app.db.connection import Database
from app.errors import ChatNotFound, WickError
from app.inference.worker_pool import WorkerPool

log = logging.getLogger(__name__)
TRASH_DAYS = 30
RETENTION_SECONDS = TRASH_DAYS * 86400
CHECK_SECONDS = 3600.0


class Trash:
    """Removes chats for good; what models keep of them goes first, so that none is left over."""

    def __init__(self, db: Database, pool: WorkerPool, hub: Hub) -> None:
        self._db = db
        self._pool = pool
        self._hub = hub
        self._is_dirty = False
        self._tasks = BackgroundTasks()

    async def remove(self, user_id: int, chat_id: str) -> None:
        """One chat. Raises ChatNotFound when it is not in this person's trash."""
        chat = await chats.get(self._db, user_id, chat_id)
        if chat is None or chat.deleted_at is None:
            raise ChatNotFound("There is no such chat in the trash.")
        await self._pool.delete_chat(chat_id)
        holder = await self._db.write(lambda c: import_holders.take_over(c, user_id, chat_id))
        self._is_dirty = True
        self._hub.chat_changed(user_id, chat_id)
        if holder is not None:
            await self._tasks.run_shielded(
                import_holders.erase(self._db, holder), "removal of a chat"
            )

    async def empty(self, user_id: int) -> int:
        """Remove all of this user's chats in the trash; return their number."""
        count = 0
        while found := (await chats.page(self._db, user_id, "trashed", 100))[0]:
            count += await self._remove_all((user_id, chat.id) for chat in found)
        return count

    async def remove_expired(self, now: float) -> int:
        """Remove what has lain there long enough, of all users; return their number."""
        return await self._remove_all(await chats.expired(self._db, now - RETENTION_SECONDS))

    async def _remove_all(self, found: Iterable[tuple[int, str]]) -> int:
        """Remove these and return their number; those that are restored meanwhile stay."""
        count = 0
        for user_id, chat_id in found:
            with contextlib.suppress(ChatNotFound):
                await self.remove(user_id, chat_id)
                count += 1
        return count

    async def purge(self) -> None:
        """The words of what has been removed are in the database's files until then."""
        if self._is_dirty:
            await self._db.purge_deleted_text()
            self._is_dirty = False

    async def run(self) -> None:
        """Remove what expires, and tidy up, at once and then every hour, until cancelled."""
        is_tidy = False
        while True:
            try:
                if not is_tidy:
                    await self._pool.purge(await chats.all_chat_ids(self._db))
                    is_tidy = True
                if count := await self.remove_expired(time.time()):
                    log.info("%d chats were removed: they lay in the trash for long.", count)
                await self.purge()
            except WickError as error:
                log.warning("The trash was not emptied: %s", error)
            await asyncio.sleep(CHECK_SECONDS)
