"""Storage of a user: all that is kept counts, and a full quota refuses with a sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import pytest

from app.conversations.storage_quota import StorageQuota
from app.db.responses import StoredResponse
from app.errors import DiskFull, StorageFull
from app.inference import kv_files
from app.models.store import ModelStore
from tests.application import BrowserClient, context_of, run_app, text_of
from tests.conversations.services import CHAT, built
from tests.foreign_files import chatgpt


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


async def test_a_chat_and_a_message_too_many_are_refused_and_nothing_is_lost(
    tmp_path: Path, store: ModelStore
) -> None:
    async with built(tmp_path, store, chats_per_user=2, messages_per_chat=4) as services:
        ids = [f"{number:016x}" for number in range(3)]
        for chat_id in ids[:2]:
            await services.answers.submit(services.prompt(client_id="client00", chat=chat_id))
        with pytest.raises(StorageFull, match="the limit of 2 chats"):
            await services.answers.submit(services.prompt(client_id="client01", chat=ids[2]))
        assert await services.chats.get(1, ids[2]) is None
        await services.answers.submit(services.prompt(client_id="client02", chat=ids[0]))
        with pytest.raises(StorageFull, match="This chat has 4 messages, the limit"):
            await services.answers.submit(services.prompt(client_id="client03", chat=ids[0]))
        with pytest.raises(StorageFull, match="limit of 2 chats"):
            await StorageQuota(services.answers._settings, services.db).check_copy(
                1, are_temporary=False
            )
        await services.answers.submit(services.prompt(client_id="client04", chat=ids[1]))


async def test_imports_keep_both_limits(tmp_path: Path) -> None:
    async with run_app(tmp_path, chats_per_user=1, messages_per_chat=6) as app:
        imports, found = context_of(app).imports, chatgpt()
        other = chatgpt()[0] | {"conversation_id": "another"}
        with pytest.raises(StorageFull, match="limit of 1 chats"):
            await imports.import_file(1, io.BytesIO(json.dumps([*found, other]).encode()))
        report = await imports.import_file(1, io.BytesIO(json.dumps(found).encode()))
        assert report.added == 1


async def test_a_chat_with_too_many_messages_is_left_out_of_an_import(tmp_path: Path) -> None:
    async with run_app(tmp_path, messages_per_chat=2) as app:
        report = await context_of(app).imports.import_file(
            1, io.BytesIO(json.dumps(chatgpt()).encode())
        )
        assert report.added == 0
        assert "a chat has at most 2" in report.left_out[0][1]


async def test_files_and_imports_leave_the_disk_free(tmp_path: Path) -> None:
    async with run_app(tmp_path, keep_free_mb=1_000_000_000, accounts="off") as app:
        context, browser = context_of(app), BrowserClient(app)
        with pytest.raises(DiskFull, match="The disk is nearly full"):
            await context.attachments.add(1, "a.txt", b"x")
        sent = httpx.Request("POST", "http://localhost/", files={"file": ("a.json", b"{}")})
        kept = {name: sent.headers[name] for name in ("Content-Type", "Content-Length")}
        answer = await browser.ask("POST", "/exchange/import", headers=kept, data=sent.read())
        assert answer.status_code == 507
        page = await text_of(await browser.ask("GET", "/status"))
        assert "nothing large is taken" in page
        assert not context.reserve.is_low  # messages go on
