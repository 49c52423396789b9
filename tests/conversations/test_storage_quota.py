"""Storage of a user: all that is kept counts, and a full quota refuses with a sentence."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.conversations.storage_quota import StorageQuota
from app.db.responses import StoredResponse
from app.errors import StorageFull
from app.inference import kv_files
from app.models.store import ModelStore
from tests.application import BrowserClient, context_of, run_app
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


async def test_stored_responses_and_imports_count_and_are_refused(tmp_path: Path) -> None:
    async with run_app(tmp_path, storage_mb_per_user=1) as app:
        context, browser = context_of(app), BrowserClient(app)
        kept = StoredResponse("resp_1", None, "x" * 400_000, "y" * 700_000, 1.0)
        await context.responses.save(1, kept)
        usage = await context.storage.usage(1)
        assert usage.responses == 1_100_000
        assert "answers kept for programs 1.1 MB" in usage.sentence
        asked = {"model": "none", "input": "Why?"}
        answer = await browser.ask("POST", "/v1/responses", json=asked)
        assert answer.status_code == 507
        assert "Your storage is full" in (await answer.get_json())["error"]["message"]
        answer = await browser.ask("POST", "/v1/responses", json=asked | {"store": False})
        assert answer.status_code == 404  # there is no such model
        with pytest.raises(StorageFull):
            await context.imports.import_file(1, io.BytesIO(b"{}"))
        await context.responses.remove(1, "resp_1")
        await context.storage.check(1)
