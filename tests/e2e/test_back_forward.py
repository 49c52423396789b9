"""Back out of the browser's cache of whole pages, whose sockets were closed for good."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, Route, async_playwright, expect

from tests.e2e.conftest import FLAGS, TINY
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant
from tests.patience import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
EMPTIED = """addEventListener("pageshow", ({persisted}) => {
  if (persisted && document.querySelector("[type=search]")) {
    document.querySelector("[type=search]").value = "";
  }
})"""
"""What Safari does with fields that say `autocomplete=off`."""
PERSISTED = (
    "addEventListener('pageshow', ({persisted}) => { if (persisted) sessionStorage.kept = 1; })"
)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page of a browser that keeps whole pages, as Safari does in spite of `no-store`."""
    if CHROMIUM is None:
        pytest.skip("Chromium's headless shell keeps no pages: install chromium to test Back.")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=FLAGS,
            ignore_default_args=["--disable-back-forward-cache"],
        )
        # A page that the test hands on seems to Chromium to come from somewhere else.
        context = await browser.new_context(permissions=["local-network-access"])
        context.set_default_timeout(PATIENCE * 1000)
        await context.add_init_script(PERSISTED)
        await context.add_init_script(EMPTIED)
        page = await context.new_page()
        await page.route(lambda url: "/static/" not in url, allow_to_keep)
        yield page
        await browser.close()


async def allow_to_keep(route: Route) -> None:
    if not route.request.is_navigation_request():
        await route.continue_()
        return
    answer = await route.fetch()
    headers = {name: value for name, value in answer.headers.items() if name != "cache-control"}
    await route.fulfill(response=answer, headers=headers)


async def go_back(page: Page) -> None:
    """Playwright hears of no load when a page comes out of the cache."""
    await page.evaluate("setTimeout(() => history.back())")


async def test_a_chat_out_of_the_cache_is_connected_and_keeps_what_was_typed(
    server: Server, page: Page
) -> None:
    chat = ChatPage(page)
    address = f"{server.origin}/chats/{plant(server.folder / 'wick.db', 2, 'Left and found')}"
    await page.goto(address)
    await chat.message.fill("half a thought")
    await page.goto(f"{server.origin}/archive")
    await go_back(page)
    await expect(page).to_have_url(address)
    await chat.holds("() => sessionStorage.kept")
    await expect(chat.message).to_have_value("half a thought")
    await chat.ask("and the other half", TINY)
    await chat.ends()
    await expect(chat.message).to_have_value("")


async def test_the_search_out_of_the_cache_says_what_was_sought(server: Server, page: Page) -> None:
    plant(server.folder / "wick.db", 2, "Sought and found")
    await page.goto(f"{server.origin}/search")
    field = page.get_by_role("searchbox")
    await field.fill("sought")
    found = page.locator("#results").get_by_role("link", name="Sought and found").first
    await found.click()
    await expect(page.get_by_role("log")).to_be_visible()
    await go_back(page)
    await expect(found).to_be_visible()
    await ChatPage(page).holds("() => sessionStorage.kept")
    await expect(field).to_have_value("sought")
