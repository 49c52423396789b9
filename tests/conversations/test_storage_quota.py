"""Storage of a user: all that is kept counts, and a full quota refuses with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.conversations.storage_quota import StorageQuota
from app.errors import StorageFull
from app.inference import kv_files
from app.models.store import ModelStore
from tests.conversations.services import CHAT, built


async def test_texts_files_and_snapshots_count_and_a_full_quota_refuses(
    tmp_path: Path, store: ModelStore
) -> None:
    async with built(tmp_path, store, storage_mb_per_user=1) as services:
        settings = services.answers._settings
        quota = StorageQuota(settings, services.db)
        assert (await quota.usage(1)).used == 0
        first = await services.attachments.add(1, "a.txt", b"x" * 400_000)
        assert (await quota.usage(1)).files >= 400_000
        await services.db.write(
            lambda c: c.execute(
                "INSERT INTO chats (id, user_id, title, model, created_at, updated_at)"
                " VALUES (?, 1, '', 'tiny', 1, 1)",
                (CHAT,),
            )
        )
        snapshot = settings.kv_folder / "model" / f"{kv_files.chat_key(CHAT)}.kv"
        snapshot.parent.mkdir(parents=True)
        snapshot.write_bytes(b"x" * 1_500_000)
        assert (await quota.usage(1)).snapshots == 1_500_000
        await quota.check(1)  # what can be made again goes first
        assert not snapshot.exists()
        await services.db.write(
            lambda c: c.execute(
                "UPDATE attachments SET text = ? WHERE id = ?", ("x" * 1_100_000, first.id)
            )
        )
        with pytest.raises(StorageFull, match="Your storage is full: "):
            await StorageQuota(settings, services.db).check(1)
        with pytest.raises(StorageFull):
            await services.attachments.add(1, "b.txt", b"x")
        with pytest.raises(StorageFull):
            await services.answers.submit(services.prompt())
        assert StorageFull.status == 507
        await quota.check(2)
