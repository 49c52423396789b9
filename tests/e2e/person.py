"""A person at a browser, and what they see of one chat."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    WebError,
    WebSocket,
    expect,
)

from tests.e2e.server import Server
from tests.patience import PATIENCE

CHAT = re.compile(r"/chats/(t?[0-9a-f]{16})$")
ENDLESS = 2000
"""Tokens of an answer that is stopped before."""
CONNECTION_LOST = r"WebSocket connection to .* failed|htmx:ws:error"

# Keeps, for every answer, each text that its live element ever had on this page; and whether the
# browser lets keys through to the page yet, which it does some moments after it has loaded.
RECORDER = """
window.awake = false;
addEventListener('keydown', () => { window.awake = true; }, {once: true, capture: true});
window.seen = {};
new MutationObserver(() => {
  for (const live of document.querySelectorAll('article[data-role=assistant] .text')) {
    const texts = (window.seen[live.closest('article').dataset.messageId] ??= []);
    if (texts.at(-1) !== live.textContent) texts.push(live.textContent);
  }
}).observe(document, {subtree: true, childList: true, characterData: true});
"""


AT_REST = """() => document.getAnimations().every(
  one => one.playState !== 'running' || one.effect.getTiming().iterations === Infinity)"""
LEFT_WHILE_CONNECTING = "WebSocket is closed before the connection is established"
"""What Chromium warns of when a page is left or closed while a socket of it connects."""


class Person:
    """One browser profile. `problems`: what no page of ours may do, as it happened."""

    def __init__(self, context: BrowserContext, server: Server) -> None:
        self.context = context
        self.server = server
        self.problems: list[str] = []
        self._expected: list[str] = [LEFT_WHILE_CONNECTING]
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("request", self._request)
        context.on("page", lambda page: page.on("websocket", self._socket))

    async def open(self, path: str = "/") -> ChatPage:
        page = await self.window()
        await page.goto(self.server.origin + path)
        chat = ChatPage(page)
        await chat.awakes()
        return chat

    async def window(self) -> Page:
        """A new page that is in front: one behind draws once a second, and clicks wait for that."""
        context = self.context
        if not context.pages or context.browser is None:
            return await context.new_page()
        one = await context.new_cdp_session(context.pages[0])
        whose = (await one.send("Target.getTargetInfo"))["targetInfo"]["browserContextId"]
        await one.detach()
        control = await context.browser.new_browser_cdp_session()
        async with context.expect_page() as coming:
            wanted = {"url": "about:blank", "newWindow": True, "browserContextId": whose}
            await control.send("Target.createTarget", wanted)
        await control.detach()
        return await coming.value

    def expects(self, pattern: str) -> None:
        """Console errors that match are part of what this test does."""
        self._expected.append(pattern)

    def _console(self, message: ConsoleMessage) -> None:
        expected = any(re.search(pattern, message.text) for pattern in self._expected)
        if message.type in {"error", "warning"} and not expected:
            self.problems.append(f"console {message.type}: {message.text}")

    def _error(self, error: WebError) -> None:
        self.problems.append(f"page error: {error.error}")

    def _request(self, request: Request) -> None:
        self._check_address(request.url)

    def _socket(self, socket: WebSocket) -> None:
        self._check_address(socket.url)

    def _check_address(self, url: str) -> None:
        address = urlsplit(url)
        own = urlsplit(self.server.origin).netloc
        if address.scheme not in {"data", "blob"} and address.netloc != own:
            self.problems.append(f"request to another origin: {url}")


class ChatPage:
    """One open tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.message = page.get_by_role("textbox", name="Message", exact=True)
        self.send = page.get_by_role("button", name="Send", exact=True)
        self.stop = page.get_by_role("button", name="Stop", exact=True)
        self.model = page.get_by_role("combobox", name="Model")
        self.chats = page.get_by_role("navigation", name="Chats")
        self.log = page.get_by_role("log")
        self.questions = self.log.locator("article[data-role=user]")
        self.answers = self.log.locator("article[data-role=assistant]")
        self.notice = page.locator("#notice")

    @property
    def answer(self) -> Locator:
        return self.answers.last

    @property
    def chat_id(self) -> str:
        match = CHAT.search(self.page.url)
        assert match, self.page.url
        return match[1]

    async def awakes(self) -> None:
        while not await self.page.evaluate("window.awake"):
            await self.page.keyboard.press("Shift")

    async def reload(self) -> None:
        await self.page.reload()
        await self.awakes()

    async def ask(self, text: str, model: str | None = None) -> None:
        """Send a message; it and its answer are on the page when this returns."""
        count = await self.questions.count()
        if model:
            await self.model.select_option(model)
        await self.message.fill(text)
        on_a_phone = await self.message.get_attribute("enterkeyhint") == "enter"
        await self.message.press("Control+Enter" if on_a_phone else "Enter")
        await expect(self.questions).to_have_count(count + 1)
        await expect(self.answers).to_have_count(count + 1)
        await expect(self.page).to_have_url(CHAT)

    async def lengthen(self, tokens: int = ENDLESS) -> None:
        """Let answers of this chat become long enough to do something meanwhile."""
        await self.choose(max_tokens=tokens)

    async def choose(self, **settings: object) -> None:
        """Set the settings of this chat to exactly these."""
        status = await self.page.evaluate(
            "async given => (await fetch(`${document.getElementById('composer').dataset.address}"
            "/settings`, {method: 'POST', body: new URLSearchParams(given)})).status",
            settings,
        )
        assert status == 200, status

    async def silence(self) -> None:
        """End all answers of this chat, running or queued."""
        while await self.stop.count():
            await self.page.evaluate("document.querySelector('[aria-label=Stop]')?.click()")
            await self.page.evaluate("new Promise(requestAnimationFrame)")

    async def writes(self) -> None:
        """Returns when there is some text of the newest answer, while it goes on."""
        await expect(self.answer.locator(".text")).not_to_be_empty()

    async def ends(self, status: str | re.Pattern[str] = "done") -> None:
        ended = re.compile("done|stopped|failed|interrupted")
        await expect(self.answer).to_have_attribute("data-status", ended)
        await expect(self.answer).to_have_attribute("data-status", status, timeout=1000)
        await expect(self.stop).to_have_count(0)

    async def use(self, verb: str, title: str) -> None:
        """Choose something from the menu of a chat in the list."""
        await self.chats.get_by_role("link", name=title, exact=True).hover()
        await self.chats.get_by_role("button", name=f"Menu for {title}", exact=True).click()
        await self.page.locator("#chat-menu").get_by_text(verb, exact=True).click()

    async def open_menu(self) -> Locator:
        """Open the menu at the foot of the sidebar."""
        await self.page.locator("#show-menu").click()
        return self.page.get_by_role("navigation", name="Menu")

    async def open_settings(self) -> None:
        """Open the dialog of this chat's settings; on a phone it is in a menu."""
        if await self.page.locator("#opener").is_visible():
            await self.page.locator("#more").click()
        button = self.page.get_by_role("button", name=re.compile("^Chat settings"))
        await button.locator("visible=true").click()

    async def answer_by(self, way: str) -> None:
        """Choose from the menu beside the newest answer's Regenerate."""
        await self.answer.get_by_role("button", name="Other ways to answer").press("Enter")
        item = self.page.get_by_role("menuitem", name=way)
        await expect(item).to_be_visible()
        await item.press("Enter")

    async def body(self) -> str:
        """Return the text of the newest answer."""
        return await self.answer.locator(".body").inner_text()

    async def articles(self) -> list[str]:
        """Return the HTML of every message in the document."""
        found: list[str] = await self.log.locator("article").evaluate_all(
            "all => all.map(one => one.outerHTML)"
        )
        return found

    async def texts_seen(self, message_id: int) -> list[str]:
        seen: dict[str, list[str]] = await self.page.evaluate("window.seen")
        return seen.get(str(message_id), [])

    async def holds(self, condition: str, argument: Any = None) -> None:
        """Returns when a condition (a JavaScript function) holds on the page.

        Playwright's own wait evaluates text inside the page, which our policy rightly forbids.
        """
        async with asyncio.timeout(PATIENCE):
            while not await self.page.evaluate(condition, argument):
                await self.page.evaluate("new Promise(requestAnimationFrame)")

    async def rests(self) -> None:
        """Returns when nothing moves any more, apart from what moves for ever."""
        await self.holds(AT_REST)

    async def assert_same_as(self, other: ChatPage) -> None:
        """Returns when both tabs have the same messages, to the character."""
        async with asyncio.timeout(PATIENCE):
            while await self.articles() != await other.articles():
                await self.page.evaluate("new Promise(requestAnimationFrame)")
