"""What axe-core finds: nothing, on every page, in both themes, wide and narrow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.e2e.conftest import Meet
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.long_chat import plant

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}
Pages = dict[str, Callable[[ChatPage], Awaitable[None]]]


@pytest.fixture(params=LOOKS)
async def person(server: Server, meet: Meet, request: pytest.FixtureRequest) -> Person:
    # The page's policy rightly keeps scripts out that are put into it; axe is one.
    return await meet(server, bypass_csp=True, **LOOKS[request.param])


async def is_clean(page: Page, what: str) -> None:
    found = await Axe().run(page)
    assert not found.violations_count, f"{what}:\n{found.generate_report()}"


async def test_a_new_chat(person: Person) -> None:
    chat = await person.open()
    await is_clean(chat.page, "a new chat")


async def test_a_chat_and_what_opens_over_it(person: Person, server: Server) -> None:
    chat_id = plant(server.folder / "wick.db", 6, "Looked at by axe")
    chat = await person.open(f"/chats/{chat_id}")
    await is_clean(chat.page, "a chat")
    for name in ("Settings of this chat", "Answer with another model"):
        await chat.page.get_by_role("button", name=name).last.click()
        await expect(chat.page.get_by_role("dialog")).to_be_visible()
        await is_clean(chat.page, name)
        await chat.page.keyboard.press("Escape")
    await chat.page.get_by_role("button", name="Edit", exact=True).last.click()
    await is_clean(chat.page, "a message that is written anew")
    await chat.page.keyboard.press("Escape")
    if await chat.chats.is_hidden():
        await chat.page.get_by_role("button", name="List of chats").click()
        await expect(chat.chats).to_be_visible()
        await is_clean(chat.page, "the list of chats")
    await chat.page.get_by_role("button", name="Keys").click()
    await is_clean(chat.page, "the keys")
    await chat.page.keyboard.press("Escape")
    await chat.chats.locator("li").first.hover()
    await chat.page.get_by_role("button", name="Menu of").first.click()
    await expect(chat.page.get_by_role("button", name="Rename")).to_be_focused()
    await is_clean(chat.page, "the menu of a chat")


async def test_other_pages(person: Person, server: Server) -> None:
    person.expects("404")
    page = await person.window()
    for path in (
        "/models",
        "/status",
        "/search?q=axe",
        "/archive",
        "/trash",
        "/exchange",
        "/nothing",
    ):
        await page.goto(server.origin + path)
        await is_clean(page, path)
