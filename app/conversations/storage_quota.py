"""Quota of what one user may store: messages, files, pictures, responses that programs go on from,
and states of the KV cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.audit import audit
from app.config import Settings
from app.db import storage, users
from app.db.connection import Database
from app.errors import StorageFull
from app.inference import kv_files


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

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings = settings
        self._db = db

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
