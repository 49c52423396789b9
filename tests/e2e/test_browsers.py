"""The ten things people do most, in Chromium, Firefox and WebKit."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.browsers.playwright_tab import FIREFOX, chromium_tab, firefox_tab
from tests.e2e.browsers.tab import Tab, expect_to_hold
from tests.e2e.browsers.webkit_tab import DRIVER, SCREEN, mini_browser, webkit_tab
from tests.e2e.server import Server
from tests.long_chat import plant

WATCH = """() => {
  window.problems = [];
  for (const kind of ['error', 'unhandledrejection'])
    addEventListener(kind, (event) => window.problems.push(String(event.message ?? event.reason)));
}"""
ANSWERS = "[...document.querySelectorAll('article[data-role=assistant]')]"
STATUS = f"{ANSWERS}.at(-1)?.dataset.status"
TEXT = f"({ANSWERS}.at(-1)?.querySelector('.body').textContent ?? '')"
FIELD = "document.getElementById('message').value"
VERSION = "[...document.querySelectorAll('.beside > span')].at(-1)?.textContent"
SILENT = """(() => {
  const stop = document.querySelector('[aria-label=Stop]');
  stop?.click();
  return !stop;
})()"""
TITLE = "document.querySelector('h1')?.textContent.trim()"


class Visit:
    """A person with one tab on a server."""

    def __init__(self, tab: Tab, server: Server) -> None:
        self.tab, self.server = tab, server

    async def open(self, path: str = "/") -> None:
        await self.tab.open(self.server.origin + path)
        await self.tab.evaluate(WATCH)

    async def open_chat(self, title: str) -> None:
        """A question and its answer, written long ago."""
        await self.open(f"/chats/{plant(self.server.folder / 'wick.db', 2, title)}")

    async def expect_value(self, expression: str, value: object) -> None:
        """Return when an expression has this value on the page."""
        await expect_to_hold(self.tab, f"(value) => {expression} === value", value)

    async def ask(self, text: str) -> None:
        """Send a message; its answer is being written when this returns."""
        count = await self.tab.evaluate(f"() => {ANSWERS}.length")
        await self.tab.click("textbox", "Message")
        await self.tab.type(text)
        await self.tab.press("Enter")
        await self.expect_value(f"{ANSWERS}.length", count + 1)
        await self.expect_value(FIELD, "")
        await self.expect_growth()

    async def expect_growth(self) -> None:
        length = await self.tab.evaluate(f"() => {TEXT}.length")
        await self.expect_value(f"{TEXT}.length > {length}", value=True)

    async def stop(self) -> None:
        await self.tab.click("button", "Stop")
        await self.expect_value(STATUS, "stopped")


def path_of(program: str) -> str:
    if (path := shutil.which(program)) is None:
        pytest.skip(f"{program} is not installed (sh tests/install-browser.sh .venv/bin).")
    return path


@pytest.fixture(scope="module", params=["chromium", "firefox", "webkit"])
async def tab(request: pytest.FixtureRequest) -> AsyncIterator[Tab]:
    if request.param == "webkit":
        program = mini_browser() or path_of("MiniBrowser")
        running: Any = webkit_tab(path_of(DRIVER), path_of(SCREEN), program)
    elif request.param == "firefox":
        running = firefox_tab(path_of(FIREFOX))
    else:
        running = chromium_tab()
    async with running as tab:
        yield tab


@pytest.fixture
async def visit(tab: Tab, endless: Server) -> AsyncIterator[Visit]:
    visit = Visit(tab, endless)
    yield visit
    await visit.expect_value(SILENT, value=True)
    assert not await tab.evaluate("() => window.problems")


async def test_an_answer_grows_until_it_is_stopped(visit: Visit) -> None:
    await visit.open()
    await visit.ask("Go on for ever")
    await visit.stop()
    await visit.expect_value(f"{TEXT} !== ''", value=True)


async def test_a_reload_in_mid_answer_goes_on_with_it(visit: Visit) -> None:
    await visit.open()
    await visit.ask("Go on for ever")
    length = await visit.tab.evaluate(f"() => {TEXT}.length")
    await visit.tab.reload()
    assert await visit.tab.evaluate(f"() => {TEXT}.length") >= length
    await visit.expect_growth()
    await visit.stop()


async def test_two_tabs_show_the_same(visit: Visit) -> None:
    await visit.open_chat("Two tabs")
    other = Visit(await visit.tab.beside(), visit.server)
    await other.tab.open(await visit.tab.evaluate("() => location.href"))
    await visit.ask("Go on for ever")
    await other.expect_growth()
    await other.stop()
    await visit.expect_value(STATUS, "stopped")
    await visit.expect_value(TEXT, await other.tab.evaluate(f"() => {TEXT}"))
    await other.tab.close()


async def test_an_answer_is_regenerated(visit: Visit) -> None:
    await visit.open_chat("Regenerated")
    old = await visit.tab.evaluate(f"() => {TEXT}")
    await visit.tab.click("button", "Regenerate")
    await visit.expect_value(VERSION, "2/2")
    await visit.stop()
    await visit.tab.click("button", "Previous version")
    await visit.expect_value(TEXT, old)


async def test_an_edited_message_makes_a_branch(visit: Visit) -> None:
    await visit.open_chat("Branched")
    await visit.tab.click("button", "Edit")
    await visit.expect_value("document.activeElement.ariaLabel", "Edit message")
    await visit.tab.press("Control+a")
    await visit.tab.type("In other words")
    await visit.tab.click("button", "Save & submit")
    await visit.expect_growth()
    await visit.stop()
    question = "document.querySelector('article[data-role=user] .body').textContent"
    await visit.expect_value(question, "In other words")
    await visit.tab.click("button", "Previous version")
    await visit.expect_value(question, "Question 1?")


async def test_a_chat_is_renamed(visit: Visit) -> None:
    title = f"Renamed {secrets.token_hex(4)}"
    await visit.open_chat(title)
    await visit.tab.hover("link", title)
    await visit.tab.click("button", f"Menu for {title}")
    await visit.tab.click("button", "Rename")
    await visit.expect_value("document.activeElement.ariaLabel", "Chat name")
    await visit.tab.press("Control+a")
    await visit.tab.type("Foxes & geese")
    await visit.tab.press("Enter")
    await visit.expect_value(TITLE, "Foxes & geese")


async def test_a_chat_is_found(visit: Visit) -> None:
    title = f"Sought {secrets.token_hex(4)}"
    plant(visit.server.folder / "wick.db", 2, title)
    await visit.open("/search")
    await visit.tab.click("searchbox", "Search your chats")
    await visit.tab.type(title)
    await visit.expect_value("document.querySelector('.found .title')?.textContent", title)
    await visit.tab.evaluate("() => document.querySelector('.found a').focus()")
    await visit.tab.press("Enter")
    await visit.expect_value(TITLE, title)


async def test_back_and_forward_lead_to_a_page_that_works(visit: Visit) -> None:
    await visit.open_chat("Left and found")
    await visit.tab.click("textbox", "Message")
    await visit.tab.type("half a thought")
    await visit.tab.click("button", "Menu")
    await visit.tab.click("link", "Archive")
    await visit.expect_value("location.pathname", "/archive")
    await visit.tab.back()
    await visit.expect_value("document.getElementById('message')?.value", "half a thought")
    await visit.ask(", whole")
    await visit.stop()
    await visit.tab.forward()
    await visit.expect_value("location.pathname", "/archive")


async def test_a_page_connects_again_after_a_restart(visit: Visit) -> None:
    await visit.open_chat("Restarted")
    offline = "document.getElementById('offline').hidden"
    assert await visit.server.stop() == 0
    await visit.expect_value(offline, value=False)
    await visit.server.start()
    await visit.expect_value(offline, value=True)
    await visit.ask("Are you there again?")
    await visit.stop()
