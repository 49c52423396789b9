"""Chromium and Firefox, driven by Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from playwright.async_api import Browser, Error, Locator, Page, async_playwright

from tests.e2e.conftest import FLAGS, executable
from tests.patience import PATIENCE

FIREFOX = "firefox-esr"
LEFT = "context was destroyed"
"""What Playwright says where a page is left meanwhile."""
# A mouse, which Playwright's headless Firefox says it has not.
HAS_A_MOUSE: dict[str, Any] = {"ui.primaryPointerCapabilities": 6, "ui.allPointerCapabilities": 6}


class PlaywrightTab:
    def __init__(self, page: Page) -> None:
        self._page = page

    async def open(self, address: str) -> None:
        await self._page.goto(address)

    async def reload(self) -> None:
        await self._page.reload()

    async def back(self) -> None:
        await self._page.go_back()

    async def forward(self) -> None:
        await self._page.go_forward()

    async def evaluate(self, function: str, argument: object = None) -> Any:
        try:
            return await self._page.evaluate(function, argument)
        except Error as error:
            if LEFT not in error.message:
                raise
            await self._page.wait_for_load_state()
            return await self._page.evaluate(function, argument)

    async def hover(self, role: str, name: str) -> None:
        await self._find(role, name).hover()

    async def click(self, role: str, name: str) -> None:
        await self._find(role, name).click()

    async def type(self, text: str) -> None:
        await self._page.keyboard.type(text)

    async def press(self, key: str) -> None:
        await self._page.keyboard.press(key)

    async def beside(self) -> PlaywrightTab:
        return PlaywrightTab(await self._page.context.new_page())

    async def close(self) -> None:
        await self._page.close()

    def _find(self, role: str, name: str) -> Locator:
        return self._page.get_by_role(cast("Any", role), name=name, exact=True).last


@asynccontextmanager
async def chromium_tab() -> AsyncIterator[PlaywrightTab]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        yield await first_tab(browser)
        await browser.close()


@asynccontextmanager
async def firefox_tab(executable: str) -> AsyncIterator[PlaywrightTab]:
    """The machine's own Firefox, driven over WebDriver BiDi."""
    async with async_playwright() as playwright:
        browser = await playwright.firefox.launch(
            channel="moz-firefox", executable_path=executable, firefox_user_prefs=HAS_A_MOUSE
        )
        yield await first_tab(browser)
        await browser.close()


async def first_tab(browser: Browser) -> PlaywrightTab:
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    return PlaywrightTab(await context.new_page())
