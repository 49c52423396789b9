"""Small things that a page owes to those who use it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Meet, StartServer
from tests.e2e.person import CONNECTION_LOST, ChatPage, Person
from tests.e2e.server import Server
from tests.long_chat import plant

SMALLEST: dict[str, Any] = {"viewport": {"width": 320, "height": 640}, "has_touch": True}
WIDER = "one => one.scrollWidth > one.clientWidth"
TOP = "document.getElementById('chats').scrollTop"


async def test_the_list_of_chats_keeps_its_scroll_position(
    start: StartServer, tiny_store: Path, meet: Meet
) -> None:
    own = await start(tiny_store)
    chats = [plant(own.folder / "wick.db", 1, f"Chat {n}") for n in range(90)]
    chat = await (await meet(own)).open(f"/chats/{chats[-1]}")
    for seen, wanted in ((60, 50), (90, 5)):  # the second lies on the list's next page
        while await chat.chats.locator("li").count() < seen:
            await chat.page.evaluate("document.getElementById('chats').scrollTop = 1e6")
        row = chat.chats.get_by_role("link", name=f"Chat {wanted}", exact=True)
        await row.scroll_into_view_if_needed()
        top = await chat.page.evaluate(TOP)
        await row.click()
        await expect(chat.page).to_have_url(re.compile(chats[wanted]))
        await chat.holds(f"top => Math.abs({TOP} - top) < 3", top)
        await expect(chat.chats.locator("[aria-current]")).to_be_in_viewport()
    await chat.page.goto(f"{own.origin}/chats/{chats[-1]}")
    assert await chat.page.evaluate("sessionStorage.listTop") != "0"


async def test_renaming_a_chat_replaces_its_old_name(
    chat: ChatPage, request: pytest.FixtureRequest
) -> None:
    await chat.use("Rename", request.node.name)
    await expect(chat.page.get_by_role("textbox", name="Chat name")).to_be_focused()
    await chat.page.keyboard.type("Rivers")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Rivers")


async def test_new_chats_in_two_tabs_have_a_draft_each(person: Person) -> None:
    one, other = await person.open(), await person.open()
    await one.message.fill("for one")
    await expect(other.message).to_have_value("")
    await other.message.fill("for the other")
    for tab in (one, other):
        await tab.reload()
    await expect(one.message).to_have_value("for one")
    await expect(other.message).to_have_value("for the other")
    await one.page.goto("about:blank")
    third = await person.open()
    await expect(third.message).to_have_value("for one")
    await expect((await person.open()).message).to_have_value("")


async def test_nothing_is_wider_than_the_smallest_phone(server: Server, meet: Meet) -> None:
    chat_id = plant(server.folder / "wick.db", 2, "A small phone")
    with closing(sqlite3.connect(server.folder / "wick.db", timeout=30)) as db, db:
        db.execute("UPDATE messages SET text = 'Hi' WHERE chat_id = ? AND role = 'user'", [chat_id])
    chat = await (await meet(server, **SMALLEST)).open(f"/chats/{chat_id}")
    bubble = await chat.questions.locator(".body").bounding_box()
    assert bubble is not None
    assert bubble["width"] < 60
    assert bubble["x"] + bubble["width"] > 290
    await chat.open_settings()
    dialog = chat.page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    assert not await dialog.evaluate(WIDER)
    await chat.page.goto(f"{server.origin}/models")
    await chat.page.get_by_role("button", name="Settings for").first.click()
    await expect(dialog).to_be_visible()
    assert not await dialog.evaluate(WIDER)


async def test_a_remote_server_that_is_down_is_shown_where_it_is_asked(
    start: StartServer, tiny_store: Path, meet: Meet
) -> None:
    own = await start(tiny_store)
    person = await meet(own)
    person.expects(CONNECTION_LOST)
    person.expects("ERR_CONNECTION_REFUSED|htmx:error")
    chat, models = await person.open(), await person.open("/models")
    await own.stop()
    await chat.open_settings()
    await expect(chat.notice).to_contain_text("Can't reach Wick. Nothing was changed.")
    await models.page.get_by_role("button", name="Settings for").first.click()
    await expect(models.notice).to_contain_text("Can't reach Wick. Nothing was changed.")
    await own.start()
    await expect(chat.notice).to_be_empty()
    await chat.open_settings()
    await expect(chat.page.get_by_role("dialog")).to_be_visible()


async def test_a_page_without_a_model_promises_no_answer(
    start: StartServer, tmp_path: Path, meet: Meet
) -> None:
    chat = await (await meet(await start(tmp_path / "none"))).open()
    welcome = chat.page.locator(".welcome")
    await expect(welcome).to_contain_text("No model installed yet", use_inner_text=True)
    await expect(welcome).not_to_contain_text("answers", use_inner_text=True)
