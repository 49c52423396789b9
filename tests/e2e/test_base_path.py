"""Wick below `/wick/`, behind proxies that take the path off and that leave it on."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.front import front_of
from tests.e2e.test_accounts import PASSWORD, first_link, invite, join
from tests.forked import run_command

BASE = "/wick"


@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "passed"])
async def test_users_join_chat_share_and_log_in_again_below_a_path(
    start: StartServer, meet: Meet, tiny_store: Path, strips: bool
) -> None:
    server = await start(
        tiny_store, base_path=BASE, trusted_proxies="127.0.0.1", max_tokens=20, accounts="on"
    )
    async with front_of(server, BASE, strips=strips) as front:
        here = server.origin
        link = (await first_link(server)).replace(here, front.origin)
        assert link.startswith(f"{front.origin}{BASE}/join/")
        server.origin = front.origin + BASE
        anna, guest = await meet(server), await meet(server)
        anna.expects("status of 401")  # the open chat finds that its login has ended

        chat = await join(anna, link, "Anna")
        await chat.ask("What is below the path?", TINY)
        await chat.ends()
        assert f"{BASE}/chats/" in chat.page.url
        await chat.reload()
        await expect(chat.answer).to_have_attribute("data-status", "done")
        await chat.ask("And once more?")
        await chat.ends()
        await chat.chats.get_by_role("link").first.click()
        await chat.page.get_by_role("link", name="New chat").click()
        await expect(chat.page).to_have_url(f"{server.origin}/")

        await chat.page.go_back()
        await chat.awakes()
        answer = await chat.page.request.post(
            chat.page.url + "/share",
            headers=await headers_of(chat.page) | {"Origin": front.origin},
        )
        shared = re.search(r'value="([^"]+/shared/[^"]+)"', await answer.text())
        assert shared
        visitor = await guest.window()
        await visitor.goto(shared[1])
        await expect(visitor.get_by_text("What is below the path?").first).to_be_visible()

        office = await anna.window()
        assert (await invite(office, server)).startswith(f"{server.origin}/join/")
        await office.goto(f"{server.origin}/models")
        await expect(office.locator("main[hx-ws\\:connect]")).to_be_visible()
        await office.goto(f"{server.origin}/you")
        await office.get_by_role("button", name="Log out", exact=True).click()
        await expect(office).to_have_url(f"{server.origin}/login?out=yes")
        await expect(chat.page).to_have_url(re.compile(f"^{server.origin}/login"))  # by its script
        await office.goto(f"{server.origin}/archive")
        await office.get_by_label("Name").fill("Anna")
        await office.get_by_label("Password", exact=True).fill(PASSWORD)
        await office.locator("form button").click()
        await expect(office).to_have_url(f"{server.origin}/archive")
        assert front.strays == []


async def headers_of(page: Page) -> dict[str, str]:
    """What the page's own scripts show of the login."""
    given = await page.evaluate("JSON.parse(document.body.getAttribute('hx-headers:inherited'))")
    return dict(given)


async def test_commands_reach_a_server_below_a_path(start: StartServer, tiny_store: Path) -> None:
    server = await start(tiny_store, base_path=BASE, max_tokens=5)
    for words in (
        ("chat", "-m", TINY, "--url", server.origin + BASE, "Hello"),
        ("chat", "--list", "--url", server.origin + BASE),
        ("chat", "-m", TINY, "Hello"),
        ("models", "list"),
        ("models", "load", TINY),
    ):
        done = await asyncio.to_thread(run_command, words, server.environ, server.folder)
        assert done.returncode == 0, (words, done)
