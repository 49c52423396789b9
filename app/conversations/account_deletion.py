"""Deletion of an account with everything of its user: rows, KV states, files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from app.config import Settings
from app.conversations.answers import AnswerService
from app.conversations.hub import Hub
from app.db import import_holders, users
from app.db.connection import Database
from app.db.migrations import list_copies, part_of
from app.errors import StoreError, WickError
from app.inference import kv_files
from app.inference.worker_pool import WorkerPool

log = logging.getLogger(__name__)
CHECK_SECONDS: Final = 60.0
"""Seconds between two looks for people whose removal has begun and was cut short."""
PAUSE_SECONDS: Final = 0.05


class AccountDeletion:
    """Ends what `Users.mark_for_deletion` has begun, again after a crash if need be; and ends what
    is answered for somebody who is kept out."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        answers: AnswerService,
        pool: WorkerPool,
        hub: Hub,
        end_temporary: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._db = db
        self._answers = answers
        self._end_temporary = end_temporary
        self._pool = pool
        self._hub = hub
        self._turn = asyncio.Lock()

    async def stop(self, user_id: int) -> None:
        """End whatever is being answered for somebody, or waits; what is written so far stays,
        but of temporary chats nothing does."""
        if self._end_temporary is not None:
            await self._end_temporary(user_id)
        for chat_id in self._hub.running_chats(user_id):
            await self._answers.stop_all(user_id, chat_id)
        self._pool.cancel_all(user_id)

    async def complete(self, user_id: int) -> None:
        """Return when nothing is left. It goes on to its end when the caller is cancelled."""
        await self._answers.tasks.run_shielded(self._finish(user_id), f"removal of {user_id}")

    async def _finish(self, user_id: int) -> None:
        async with self._turn:
            if user_id not in await users.pending_deletion(self._db):
                return
            await self._stop_answers(user_id)
            chats = await users.chats_of(self._db, user_id)
            for chat_id in chats:
                await self._pool.delete_chat(chat_id)
            self._pool.delete_user(user_id)
            await erase_user(self._db, self._settings, user_id, chats)
            log.info("A person and everything of theirs was removed.")

    async def _stop_answers(self, user_id: int) -> None:
        """One that still ran would be written down, and its KV state kept once more."""
        await self.stop(user_id)
        while self._hub.running_chats(user_id) or self._pool.requests(user_id):
            await asyncio.sleep(PAUSE_SECONDS)
            await self.stop(user_id)

    async def run(self) -> None:
        """Finish whoever leaves, until cancelled."""
        while True:
            try:
                for user_id in await users.pending_deletion(self._db):
                    await self.complete(user_id)
            except WickError as error:
                log.warning("A person could not be removed yet: %s", error)
            await asyncio.sleep(CHECK_SECONDS)


async def erase_user(
    db: Database, settings: Settings, user_id: int, chats: Iterable[str] | None = None
) -> None:
    """Delete what is on the disk of a user of whom nothing runs. Raises StoreError."""
    found = await users.chats_of(db, user_id) if chats is None else chats
    for chat_id in found:
        await asyncio.to_thread(kv_files.delete, settings.kv_folder, chat_id)
    await import_holders.erase(db, user_id)
    try:
        await db.purge_deleted_text()
    except StoreError as error:
        log.warning("Deleted rows could not be overwritten in the database file: %s", error)
    paths = [copy.path for copy in list_copies(settings.database)]
    paths.append(part_of(settings.database))
    if user_id == users.LOCAL_USER:
        paths.append(settings.terminal_history)
    await asyncio.to_thread(_delete, paths)


def _delete(paths: Iterable[Path]) -> None:
    """Copies from before an update hold what was there then."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
