"""What the dialog of Ctrl+K finds, asked for over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest
from quart import Quart

from app.db import chats, messages
from app.models.store import ModelStore
from app.web.pages.palette import MAX_CHATS, MAX_MESSAGES, MAX_RECENT, mark
from tests.application import PAGE, BrowserClient, context_of, run_app, sign_in, text_of
from tests.tiny_gguf import write_tiny_gguf

CHATS = [f"{number:016x}" for number in range(20)]
HOSTILE = "<img src=x onerror=alert(1)> & fox"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    """Start a server with 20 chats about foxes, of which one has a hostile title, and a model."""
    store = ModelStore(tmp_path / "models")
    store.install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")

    async def fill(connection: aiosqlite.Connection) -> None:
        for number, chat_id in enumerate(CHATS):
            await chats.create(connection, chat_id, 1, f"Fox number {number}", "tiny", number)
            await messages.add_user(connection, 1, chat_id, None, "the fox & the hen", chat_id, 1.0)
        await chats.rename(connection, 1, CHATS[3], HOSTILE)

    async with run_app(tmp_path) as made:
        await context_of(made).chats._db.write(fill)
        yield made


async def find(app: Quart, query: str = "", chat: str = "", by: BrowserClient | None = None) -> str:
    browser = by or BrowserClient(app)
    answer = await browser.ask(
        "GET", "/palette", query_string={"q": query, "chat": chat}, headers=PAGE
    )
    assert answer.status_code == 200
    return await text_of(answer)


def options(html: str) -> list[str]:
    found = re.findall(r'role="option".*?<span class="title" dir="auto">(.*?)</span>', html, re.S)
    return [re.sub("</?mark>", "", title) for title in found]


async def test_the_latest_chats_are_there_before_anything_is_typed(app: Quart) -> None:
    found = options(await find(app))
    assert found[:2] == ["Fox number 19", "Fox number 18"]
    assert found[MAX_RECENT:] == [
        *("New chat", "Temporary chat", "New folder", "Keyboard shortcuts")
    ]
    assert "Chat settings" in options(await find(app, chat=CHATS[0]))


async def test_chats_and_messages_are_grouped_bounded_and_highlighted(app: Quart) -> None:
    html = await find(app, "fox")
    assert re.findall(r"<h3[^>]*>(.*?)</h3>", html) == ["Chats", "Messages"]
    assert len(options(html)) == MAX_CHATS + MAX_MESSAGES
    assert "the <mark>fox</mark> &amp; the hen" in html
    assert "<img" not in html
    assert "14 results" in html


async def test_models_pages_and_actions_are_found_by_what_they_are_for(app: Quart) -> None:
    assert options(await find(app, "backup")) == ["Export and import"]
    assert options(await find(app, "incognito")) == ["Temporary chat"]
    assert "Keyboard <mark>short</mark>cuts" in await find(app, "short")
    shown = await find(app, "tiny")
    assert 'href="/models#card-' in shown
    assert "hx-post" not in shown
    assert f'hx-post="/chats/{CHATS[0]}/model"' in await find(app, "tiny", CHATS[0])
    assert "hx-post" not in await find(app, "tiny", '"><script>')
    assert "No results" in await find(app, "xyzzy")


async def test_new_chats_are_begun_in_folders_and_with_personas(app: Quart) -> None:
    browser = BrowserClient(app)
    assert 'hx-get="/folders/new"' in await find(app, "folder")
    assert "New folder" in await text_of(await browser.ask("GET", "/folders/new", headers=PAGE))
    made = await browser.ask("POST", "/folders/new", form={"name": "Kitchen <b>"})
    assert "“Kitchen &lt;b&gt;” is in the list." in await text_of(made)
    await browser.ask("POST", "/personas", form={"name": "Kitchen help"})
    html = await find(app, "kitchen")
    assert options(html) == ["Kitchen &lt;b&gt;", "Kitchen help"]
    assert 'href="/?folder=1"' in html
    assert 'href="/?persona=1"' in html


async def test_settings_are_found_by_what_is_in_them(app: Quart) -> None:
    for words in ("thinking", "reason"):
        assert options(await find(app, words, CHATS[0])) == ["Chat settings"]


async def test_nobody_finds_what_is_another_users(tmp_path: Path) -> None:
    async with run_app(tmp_path, accounts="on") as app:
        await sign_in(app, "ada", "owner")
        ben = await sign_in(app, "ben")

        async def fill(connection: aiosqlite.Connection) -> None:
            await chats.create(connection, CHATS[0], 1, "Fox of Ada", "tiny", 1.0)

        await context_of(app).chats._db.write(fill)
        assert "Ada" not in await find(app, by=ben)
        assert options(await find(app, "fox", by=ben)) == []
        assert options(await find(app, "status", by=ben)) == []
        assert options(await find(app, "password", by=ben)) == ["Account"]


def test_marks_keep_every_character() -> None:
    assert mark("Export", ["xp", "t"]) == [
        ("E", False),
        ("xp", True),
        ("or", False),
        ("t", True),
    ]
    assert mark("Straße", ["strasse"]) == [("Straße", False)]
