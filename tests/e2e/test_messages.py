"""A message and what stands around it: its name, its time, copies, a branch."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Literal

from playwright.async_api import Locator, Page, expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.person import CHAT
from tests.e2e.server import Server
from tests.long_chat import plant
from tests.patience import PATIENCE, POLL_SECONDS

DAY = 86400


def spread(server: Server, chat_id: str) -> None:
    """Let the chat's first two messages be from yesterday."""
    with closing(sqlite3.connect(server.folder / "wick.db", timeout=30)) as connection, connection:
        connection.execute(
            "UPDATE messages SET created_at = ? WHERE id IN"
            " (SELECT id FROM messages WHERE chat_id = ? ORDER BY id LIMIT 2)",
            (time.time() - DAY, chat_id),
        )


async def copy(page: Page, button: Locator, modifiers: Sequence[Literal["Alt"]] = ()) -> str:
    """Press a button, and return what it copies: "Copied" may still stand there from before."""
    await page.evaluate("navigator.clipboard.writeText('')")
    await button.click(modifiers=list(modifiers))
    async with asyncio.timeout(PATIENCE):
        while not (text := await page.evaluate("navigator.clipboard.readText()")):
            await asyncio.sleep(POLL_SECONDS)
    return str(text)


async def test_messages_are_named_dated_copied_and_branched_off(server: Server, meet: Meet) -> None:
    chat_id = plant(server.folder / "wick.db", 4, "Numbers")
    spread(server, chat_id)
    allowed = ["clipboard-read", "clipboard-write"]
    person = await meet(server, permissions=allowed, locale="de-DE", timezone_id="Asia/Tokyo")
    chat = await person.open(f"/chats/{chat_id}")
    page = chat.page
    # Names and headings.
    await expect(page.get_by_role("article", name="You")).to_have_count(2)
    await expect(page.get_by_role("article", name="Tiny")).to_have_count(2)
    await expect(page.get_by_role("heading", level=2, name="Tiny")).to_have_count(2)
    # Days and times are the reader's; a new day begins with a line.
    await expect(chat.log.locator(".day")).to_have_text(["Gestern", "Heute"])
    at = chat.answer.locator("time[datetime]")
    await expect(at).to_have_text(re.compile(r"^\d\d:\d\d$"))
    assert await at.evaluate("one => one.textContent === new Date(one.dateTime)"
        ".toLocaleTimeString('de-DE', {timeStyle: 'short'})")  # fmt: skip
    await expect(at).to_have_css("opacity", "0")
    await chat.answer.hover()
    await expect(at).to_have_css("opacity", "1")
    # Copied as Markdown, and with Alt as it is read.
    answer = page.get_by_role("button", name="Copy answer").last
    text = await copy(page, answer)
    assert text.startswith("Here is what I know about point 4.\n\n1. It")
    plain = await copy(page, answer, modifiers=["Alt"])
    assert "It has parts, and names for them." in plain
    assert "def point_4" in plain
    assert "Copy" not in plain
    await chat.questions.first.hover()
    assert await copy(page, page.get_by_role("button", name="Copy message").first) == "Question 1?"
    await expect(page.locator("#announcer")).to_have_text("Copied")
    # A new chat with the path up to here, which goes on by itself and reuses what was computed.
    await chat.ask("And more", TINY)
    await chat.ends()
    await chat.answer.get_by_role("button", name="Branch", exact=True).click()
    await expect(page).not_to_have_url(re.compile(chat_id))
    await expect(page).to_have_url(CHAT)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Numbers (branch)")
    await chat.awakes()
    await expect(chat.questions).to_have_count(3)
    await chat.ask("Elsewhere", TINY)
    await chat.ends()
    row = server.messages(chat.chat_id)[-1]
    assert row["cached_tokens"] > row["prompt_tokens"] / 2, dict(row)
    await expect(chat.chats.get_by_role("link", name="Numbers", exact=True)).to_be_visible()


async def test_figures_can_be_turned_off(server: Server, meet: Meet) -> None:
    chat = await (await meet(server)).open()
    await chat.ask("Hello", TINY)
    await chat.ends()
    await expect(chat.answer.locator(".figures")).to_be_visible()
    await chat.page.evaluate("document.documentElement.dataset.figures = 'off'")
    await expect(chat.answer.locator(".figures")).to_be_hidden()


async def test_own_messages_are_markdown_and_long_ones_fold(server: Server, meet: Meet) -> None:
    chat = await (await meet(server, viewport={"width": 320, "height": 640})).open()
    lines = "\n".join(f"  line {n} of what was pasted" for n in range(1, 60))
    await chat.ask(f"Explain **this**:\n\n```python\nprint('{'x' * 90}')\n```\n\n{lines}", TINY)
    await chat.ends()
    mine, page = chat.questions.first, chat.page
    for _ in range(2):
        await expect(mine.locator("strong")).to_have_text("this")
        await expect(mine.locator("pre")).to_contain_text("print")
        body = mine.locator(".body")
        assert "\n  line 2 of" in await body.inner_text()
        fits = "e => e.getBoundingClientRect().right <= innerWidth"
        assert await body.evaluate(fits)
        height = "e => e.clientHeight"
        folded = await body.evaluate(height)
        more = mine.get_by_role("button", name="Show more")
        await expect(more).to_have_attribute("aria-expanded", "false")
        await more.press("Enter")
        assert await body.evaluate(height) > 2 * folded
        less = mine.get_by_role("button", name="Show less")
        await expect(less).to_be_focused()
        await less.press("Enter")
        assert await body.evaluate(height) == folded
        await chat.reload()  # the same from the page as from the socket
    assert not await page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    # Whoever comes from the search sees all of it.
    message = await mine.get_attribute("data-message-id")
    await page.goto(f"{page.url}?find=line+59#m{message}")
    tall = "([id, least]) => document.querySelector(`#m${id} .body`).clientHeight > least"
    await chat.holds(tall, [message, 2 * folded])


async def test_a_title_is_changed_where_it_stands(server: Server, meet: Meet) -> None:
    chat = await (await meet(server)).open()
    page = chat.page
    rename, field = page.locator(".rename"), page.get_by_role("textbox", name="Chat name")
    await expect(rename).to_be_disabled()  # there is no chat yet
    await chat.ask("Foxes", TINY)
    await chat.ends()
    await page.get_by_role("button", name="Foxes", exact=True).click()
    await expect(field).to_be_focused()
    assert await page.evaluate("getSelection().toString()") == "Foxes"
    await page.keyboard.type("Never")
    await page.keyboard.press("Escape")
    await expect(rename).to_be_focused()
    await expect(page.locator("#title")).to_have_text("Foxes")
    await page.keyboard.press("Enter")
    await page.keyboard.type("Herons <b>")
    await page.keyboard.press("Enter")
    await expect(rename).to_be_focused()
    await expect(page).to_have_title("Herons <b> · Wick")
    await expect(chat.chats.get_by_role("link", name="Herons <b>", exact=True)).to_be_visible()
    # Who leaves the field means it; what is empty changes nothing.
    await rename.click()
    await page.keyboard.type("Cranes")
    await chat.message.click()
    await expect(chat.message).to_be_focused()
    await expect(chat.chats.get_by_role("link", name="Cranes", exact=True)).to_be_visible()
    # From the menu, which is the only way where it is narrow.
    await page.set_viewport_size({"width": 320, "height": 640})
    await page.get_by_role("button", name="More", exact=True).click()
    await page.locator("#chat-menu").get_by_text("Rename", exact=True).click()
    await expect(field).to_be_focused()
    await field.fill("  ")
    await page.keyboard.press("Enter")
    await chat.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Cranes")
