"""Two members: neither sees the other's files by id, by digest, by search or by the KV cache."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from quart import Quart
from quart.datastructures import FileStorage

from app.conversations.document_fit import DocumentFit
from app.db import chats, messages
from app.db.search import SearchQuery
from app.inference.protocol import Generate
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.prompt import PromptBuilder
from app.inference.runner.token_memory import StableTokenizer
from app.models.model import Turn
from app.models.text.chat_template import ChatTemplate
from tests.application import BrowserClient, context_of, run_app, sign_in, text_of
from tests.inference.scripted_engine import ScriptedEngine
from tests.inference.tiny import tiny_model
from tests.tiny_gguf import CHATML

TEXT = "The marmalade is behind the third door."
CHAT, HIS_CHAT = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


@pytest.fixture
async def anna(app: Quart) -> BrowserClient:
    return await sign_in(app, "Anna", "owner")


@pytest.fixture
async def ben(app: Quart, anna: BrowserClient) -> BrowserClient:
    return await sign_in(app, "Ben", "member")


async def upload(browser: BrowserClient, text: str = TEXT) -> int:
    answer = await browser.ask("POST", "/api/v1/files?name=a.txt", data=text.encode())
    assert answer.status_code == 201, await text_of(answer)
    number: int = (await answer.get_json())["id"]
    return number


async def id_of(app: Quart, name: str) -> int:
    row = await context_of(app).chats._db.fetch_one("SELECT id FROM users WHERE name = ?", (name,))
    assert row is not None
    return int(row["id"])


async def folder_with_document(app: Quart, browser: BrowserClient, user_id: int) -> int:
    folder = (await context_of(app).folders.add(user_id, "Work")).id
    file = FileStorage(BytesIO(f"{TEXT} So it is filed.".encode()), "b.txt")
    answer = await browser.ask("POST", f"/folder-documents?folder={folder}", files={"file": file})
    assert answer.status_code == 200
    return folder


async def newest_file(app: Quart) -> int:
    row = await context_of(app).chats._db.fetch_one("SELECT max(id) AS id FROM attachments")
    assert row is not None
    return int(row["id"])


async def test_by_id(app: Quart, anna: BrowserClient, ben: BrowserClient) -> None:
    """Whatever address takes the id of a file says the same of another's as of none at all."""
    mine = await upload(anna)
    folder = await folder_with_document(app, anna, await id_of(app, "Anna"))
    filed = await newest_file(app)
    rules = [
        rule
        for rule in app.url_map.iter_rules()
        if {"attachment_id", "file_id"} & rule.arguments and "token" not in rule.arguments
    ]
    assert len(rules) >= 12

    async def said(method: str, rule: Any, number: int, in_folder: int) -> tuple[int, str]:
        address = rule.rule
        for name in ("attachment_id", "file_id"):
            address = address.replace(f"<int:{name}>", str(number))
        address = address.replace("<int:folder_id>", str(in_folder)).replace("<chat_id>", CHAT)
        given = {"json": {"alt": "x"}} if method == "PATCH" else {}
        answer = await ben.ask(method, address, **given)
        return answer.status_code, re.sub(r"[0-9]+", "#", await text_of(answer))

    for rule in rules:
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            nothing = await said(method, rule, 999_999, 999_999)
            assert nothing[0] == 404, (method, rule.rule)
            for number in (mine, filed):
                assert await said(method, rule, number, folder) == nothing, (method, rule.rule)
    part = {"type": "file", "file": {"file_id": mine}}
    body = {"model": "tiny", "messages": [{"role": "user", "content": [part]}]}
    assert (await ben.ask("POST", "/v1/chat/completions", json=body)).status_code == 404
    assert str(mine) not in await text_of(await ben.ask("GET", f"/attachments?ids={mine}"))
    kept = await anna.ask("GET", f"/api/v1/files/{mine}/content")
    assert await text_of(kept) == TEXT


async def test_by_digest(app: Quart, anna: BrowserClient, ben: BrowserClient) -> None:
    """Who has the same bytes sees only their own, and keeps them when the other's go."""
    db, index = context_of(app).chats._db, context_of(app).saved.passages
    alone = await upload(ben, "Nobody else has this.")
    mine, his = await upload(anna), await upload(ben)
    shown = [await (await ben.ask("GET", f"/api/v1/files/{n}")).get_json() for n in (alone, his)]
    assert shown[0].keys() == shown[1].keys()
    assert [one["id"] for one in shown] == [alone, his]
    for name, number in (("Anna", mine), ("Ben", his)):
        user_id = await id_of(app, name)
        found = await context_of(app).attachments.get(user_id, number)
        await index.ensure(user_id, [found])
    rows = await db.fetch_all(
        "SELECT document_id, d.user_id, a.user_id AS whose FROM attachments a"
        " JOIN documents d ON d.id = a.document_id WHERE a.id IN (?, ?)",
        (mine, his),
    )
    assert len({row["document_id"] for row in rows}) == 2
    assert all(row["user_id"] == row["whose"] for row in rows)
    assert (await anna.ask("DELETE", f"/api/v1/files/{mine}")).status_code in {200, 204}
    kept = await ben.ask("GET", f"/api/v1/files/{his}/content")
    assert await text_of(kept) == TEXT


async def test_by_search(app: Quart, anna: BrowserClient, ben: BrowserClient) -> None:
    her_id, his_id = await id_of(app, "Anna"), await id_of(app, "Ben")
    mine, context = await upload(anna), context_of(app)
    folder = await folder_with_document(app, anna, her_id)
    his = await upload(ben, "The marmalade of Ben is on the table. " * 3)

    async def make(c: aiosqlite.Connection) -> None:
        for user_id, chat, file in ((her_id, CHAT, mine), (his_id, HIS_CHAT, his)):
            await chats.create(c, chat, user_id, "Marmalade", "tiny", 1.0)
            question = await messages.add_user(c, user_id, chat, None, "?", "c", 1.0)
            await c.execute("UPDATE attachments SET message_id = ? WHERE id = ?", (question, file))
            await chats.advance(c, user_id, chat, question, "tiny", 1.0)

    await context.chats._db.write(make)
    await context.folders.move(her_id, CHAT, folder)
    search = context.saved.document_search
    assert {one.file for one in await search.find(her_id, CHAT, "marmalade")} == {"a.txt", "b.txt"}
    found = await search.find(his_id, HIS_CHAT, "marmalade third door")
    assert found
    assert all("Ben" in one.text for one in found)
    assert await search.find(his_id, CHAT, "marmalade") == []
    hits = await context.search.find(his_id, SearchQuery(("marmalade",)))
    assert {hit.chat_id for hit in [*hits.titles, *hits.messages, *hits.files]} == {HIS_CHAT}


def test_by_the_kv_cache() -> None:
    """Else a guess of what stands in another's folder would be read sooner, word by word."""
    tokenizer = StableTokenizer.load(tiny_model().folder)
    cache = KvCache(ScriptedEngine(), 2)
    prompts = PromptBuilder(ChatTemplate(CHATML, tokenizer), tokenizer, cache, 2000)

    def cached(owner: str, chat: str, system: tuple[Turn, ...], asked: str) -> tuple[int, int]:
        fitted = prompts.build(Generate(1, (*system, Turn("user", asked))))
        live, common, _ = cache.acquire(fitted.tokens, chat, owner=owner, shared=fitted.shared)
        live.evaluate(fitted.tokens[common:], 1)
        cache.release(live)
        return common, len(fitted.tokens)

    filed = DocumentFit(folder=TEXT * 20).with_folder([Turn("system", "Be brief.")])
    guess = (Turn("system", f"Be brief.\n\n{TEXT * 20}"),)
    _, size = cached("anna", "a", filed, "Which door?")
    assert cached("anna", "b", filed, "Which jam?")[0] > size - 20
    for owner, system in (("ben", filed), ("cem", guess)):
        assert cached(owner, f"of {owner}", system, "Which door?")[0] < 12
    cache.close()
