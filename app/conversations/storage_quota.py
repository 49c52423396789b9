"""Quota of what one user may store: bytes of messages, files, pictures, responses that programs go
on from, and states of the KV cache; and how many chats, and messages in each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiosqlite

from app.audit import audit
from app.config import Settings
from app.db import storage, users
from app.db.connection import Database
from app.disk_reserve import Reserve
from app.errors import StorageFull
from app.inference import kv_files
from app.inference.kv_files import is_memory_only

MAX_TEMPORARY_CHATS: Final = 100
"""Of one user at a time: they are in memory."""
_MESSAGES_OF_NEW_CHAT: Final = 2


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """Bytes that a user has stored. limit: 0 for none."""

    messages: int
    files: int
    pictures: int
    responses: int
    snapshots: int
    limit: int

    @property
    def used(self) -> int:
        kept = self.messages + self.files + self.pictures + self.responses
        return kept + self.snapshots

    @property
    def is_full(self) -> bool:
        return bool(self.limit) and self.used >= self.limit

    @property
    def sentence(self) -> str:
        of = f" of {_size(self.limit)}" if self.limit else ""
        return (
            f"{_size(self.used)}{of} used: messages {_size(self.messages)}, files"
            f" {_size(self.files)}, pictures {_size(self.pictures)}, answers kept for programs"
            f" {_size(self.responses)}, what models have read {_size(self.snapshots)}."
        )


class StorageQuota:
    """Counts what users store, and refuses more than is allowed."""

    def __init__(self, settings: Settings, db: Database, reserve: Reserve | None = None) -> None:
        self._settings = settings
        self._db = db
        self._reserve = reserve

    async def usage(self, user_id: int) -> StorageUsage:
        """Count what a user has stored now."""
        stored = await storage.stored_bytes(self._db, user_id)
        chats = await users.chats_of(self._db, user_id)
        kept = await asyncio.to_thread(_snapshot_bytes, self._settings.kv_folder, chats)
        limit = self._settings.storage_mb_per_user * 1_000_000
        return StorageUsage(**stored, snapshots=kept, limit=limit)

    async def check(self, user_id: int) -> None:
        """Check that a user may store more. States of the KV cache, which can be made again, go
        before anything is refused. Raises StorageFull."""
        if not self._settings.storage_mb_per_user:
            return
        usage = await self.usage(user_id)
        if not usage.is_full:
            return
        if usage.used - usage.snapshots < usage.limit:
            chats = await users.chats_of(self._db, user_id)
            await asyncio.to_thread(_delete_snapshots, self._settings.kv_folder, chats)
            return
        audit("limit-reached", limit="storage", user=user_id)
        raise StorageFull(
            f"Your storage is full: {_size(usage.used)} of {_size(usage.limit)} are used. Delete"
            " chats or files, and empty the trash."
        )

    async def check_file(self, user_id: int, size: int) -> None:
        """Check that a user may store a file. Raises StorageFull, and DiskFull where the disk has
        no room for it."""
        if self._reserve is not None:
            await asyncio.to_thread(self._reserve.check_space, size)
        await self.check(user_id)

    async def check_counts(
        self, connection: aiosqlite.Connection, user_id: int, chat_id: str
    ) -> None:
        """Check within a transaction that a chat which has grown has not one message too many, or
        is not one chat too many. Raises StorageFull, which undoes it."""
        most = self._settings.messages_per_chat
        chats, messages = await storage.count_within(connection, user_id, chat_id)
        if messages > most:
            audit("limit-reached", limit="messages of a chat", user=user_id)
            raise StorageFull(
                f"This chat has {most:,} messages, the limit. Go on in a new chat, or delete some."
            )
        if messages > _MESSAGES_OF_NEW_CHAT:
            return
        if is_memory_only(chat_id):
            _ensure_below(chats - 1, MAX_TEMPORARY_CHATS, user_id, "End some.", "temporary chats")
        else:
            _ensure_below(chats - 1, self._settings.chats_per_user, user_id)

    async def check_copy(self, user_id: int, *, are_temporary: bool) -> None:
        """Check that a user may have one more copy of a chat. Raises StorageFull."""
        await self.check(user_id)
        if not are_temporary:
            await self.check_chats(user_id)

    async def check_chats(self, user_id: int, more: int = 0) -> None:
        """Check that a user may have another chat beside those there are, and `more` that come.
        Raises StorageFull."""
        count = await storage.count_chats(self._db, user_id)
        _ensure_below(count + more, self._settings.chats_per_user, user_id)


def _ensure_below(
    count: int,
    most: int,
    user_id: int,
    way_out: str = "Delete some, and empty the trash.",
    what: str = "chats",
) -> None:
    if count >= most:
        audit("limit-reached", limit=what, user=user_id)
        raise StorageFull(f"You have reached the limit of {most:,} {what}. {way_out}")


def _snapshot_bytes(folder: Path, chats: Iterable[str]) -> int:
    keys = {kv_files.chat_key(chat) for chat in chats}
    total = 0
    for path in kv_files.files(folder):
        if path.stem in keys:
            try:
                total += path.stat().st_size
            except OSError:  # deleted meanwhile
                continue
    return total


def _delete_snapshots(folder: Path, chats: Iterable[str]) -> None:
    for chat in chats:
        kv_files.delete(folder, chat)


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"
