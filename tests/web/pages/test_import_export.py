"""Exports protected by a passphrase, out of the page and into it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyrage
import pytest

from app import age
from app.conversations.imports.imports import Imports
from app.errors import LimitReached
from app.web.bodies import ExportSpool
from tests.application import BrowserClient, context_of, run_app, text_of
from tests.foreign_files import chatgpt

WORDS = "four words in a row"


async def send(browser: BrowserClient, data: bytes, **form: str) -> Any:
    sent = httpx.Request(
        *("POST", "http://localhost/"), files={"file": ("chats.json.age", data)}, data=form
    )
    kept = ("Content-Type", "Content-Length")
    headers = {name: sent.headers[name] for name in kept} | {"HX-Request": "true"}
    return await browser.ask("POST", "/exchange/import", headers=headers, data=sent.read())


async def test_an_export_protected_by_a_passphrase_comes_back_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(age, "WORK_FACTOR", 4)
    both = {"passphrase": WORDS, "again": WORDS}
    async with run_app(tmp_path / "first", accounts="off") as app:
        imports: Imports = context_of(app).imports
        await imports.import_file(1, io.BytesIO(json.dumps(chatgpt()).encode()))
        browser = BrowserClient(app)
        answer = await browser.ask("POST", "/exchange/chats.json", form=both)
        assert answer.headers["Content-Disposition"].startswith(
            'attachment; filename="wick-chats.json.age"'
        )
        assert answer.headers["Content-Type"] == age.MEDIA_TYPE
        file = await answer.get_data(as_text=False)
        packed = await browser.ask("POST", "/exchange/chats.zip", form=both)
        plain = pyrage.passphrase.decrypt(await packed.get_data(as_text=False), WORDS)
        assert zipfile.ZipFile(io.BytesIO(plain)).namelist() == ["Foxes.md"]
        chats = await (await browser.ask("GET", "/api/v1/chats/export.json")).get_json()
        assert [chat["title"] for chat in chats["chats"]] == ["Foxes"]
        one = f"/api/v1/chats/{chats['chats'][0]['id']}/export"
        for path in ("/api/v1/chats/export.json", f"{one}.json", f"{one}.md"):
            answer = await browser.ask("POST", path, json={"passphrase": WORDS})
            got = pyrage.passphrase.decrypt(await answer.get_data(as_text=False), WORDS)
            assert b"An animal." in got
            answer = await browser.ask("POST", path, json={"passphrase": "short"})
            assert answer.status_code == 400
            assert "at least 8 characters" in await text_of(answer)
    async with run_app(tmp_path / "second", accounts="off") as app:
        browser = BrowserClient(app)
        for passphrase, sentence in (("", "is protected"), ("other words", "Wrong passphrase")):
            answer = await send(browser, file, passphrase=passphrase)
            text = await text_of(answer)
            assert (answer.status_code, sentence in text) == (422, True)
            assert 'name="passphrase"' in text
        answer = await send(browser, file, passphrase=WORDS)
        text = await text_of(answer)
        assert "1 chat imported." in text
        assert 'name="passphrase"' not in text


async def test_a_passphrase_that_will_not_do_is_a_sentence_on_the_page(tmp_path: Path) -> None:
    async with run_app(tmp_path, accounts="off") as app:
        browser = BrowserClient(app)
        for form, sentence in (
            ({}, "at least 8 characters"),
            ({"passphrase": WORDS, "again": "another"}, "do not match"),
        ):
            answer = await browser.ask("POST", "/exchange/chats.zip", form=form)
            text = await text_of(answer)
            assert (answer.status_code, sentence in text) == (422, True)
            assert "<details open" in text
            assert WORDS not in text


async def test_a_user_has_two_exports_on_their_way_at_a_time(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 1000

    spool = ExportSpool(tmp_path, 1 << 20)
    first, second = [await spool.response(1, pieces(), "text/plain") for _ in range(2)]
    with pytest.raises(LimitReached, match="2 of your exports"):
        await spool.response(1, pieces(), "text/plain")
    await spool.response(2, pieces(), "text/plain")
    async with first.response as body:
        assert b"".join([data async for data in body]) == b"x" * 1000
    del second  # never begun
    for _ in range(2):
        await spool.response(1, pieces(), "text/plain")
