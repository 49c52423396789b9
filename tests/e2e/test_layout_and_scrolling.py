"""Narrow and dark, keys, and where the page scrolls to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import SMOLLM2, TINY, Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.patience import PATIENCE

WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
QUESTION = "Write a Python function that reverses a string, and explain it in a list."
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# How far the log is from its end, measured after the page's own observers have had their turn.
FROM_END = """() => new Promise(done => {
  const box = document.getElementById('scroll');
  let turn = 0;
  new ResizeObserver((_, observer) => {
    if (turn++ === 0) return;
    observer.disconnect();
    done(box.scrollHeight - box.scrollTop - box.clientHeight);
  }).observe(document.getElementById('log'));
})"""

# Where the log stands once it has stood there for ten frames.
AT_REST = """() => new Promise(done => {
  const box = document.getElementById('scroll');
  let top = NaN, still = 0;
  requestAnimationFrame(function look() {
    still = box.scrollTop === top ? still + 1 : 0;
    top = box.scrollTop;
    if (still === 10) done(top); else requestAnimationFrame(look);
  });
})"""


async def measure(chat: ChatPage, script: str) -> float:
    async with asyncio.timeout(PATIENCE):
        found: float = await chat.page.evaluate(script)
        return found


async def test_pages_fit_in_both_themes_wide_and_on_a_phone(
    server: Server, meet: Meet, artefacts: Path
) -> None:
    chat = await (await meet(server, color_scheme="light", **WIDE)).open()
    await chat.page.screenshot(path=artefacts / "wide-light-new.png")
    await chat.lengthen(200)
    await chat.ask(QUESTION, SMOLLM2)
    await chat.writes()
    await chat.page.screenshot(path=artefacts / "wide-light-writing.png")
    await chat.ends()
    for size, options in (("wide", WIDE), ("phone", PHONE)):
        await chat.page.set_viewport_size(options["viewport"])
        for scheme in ("light", "dark"):
            await chat.page.emulate_media(color_scheme=scheme)
            await chat.page.screenshot(path=artefacts / f"{size}-{scheme}-done.png")
            assert not await chat.page.evaluate(SIDEWAYS)
            paper = await chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(",")))
            assert (brightness < 200) == (scheme == "dark")


async def test_on_a_phone_the_list_opens_and_closes(
    server: Server, meet: Meet, artefacts: Path
) -> None:
    chat = await (await meet(server, **PHONE)).open()
    await chat.ask("From the phone: " + "averylongwordwithoutanybreak" * 20, TINY)
    await chat.ends()
    assert not await chat.page.evaluate(SIDEWAYS)
    link = chat.chats.locator("a[aria-current=page]")
    await expect(link).to_be_hidden()
    await chat.page.get_by_role("button", name="Show or hide the sidebar").click()
    await expect(link).to_be_visible()
    await chat.page.screenshot(path=artefacts / "phone-light-list.png", animations="disabled")
    await chat.page.get_by_role("button", name="Close sidebar").click()
    await expect(link).to_be_hidden()
    await chat.page.get_by_role("button", name="Show or hide the sidebar").click()
    await link.click()
    await chat.awakes()
    await expect(chat.questions).to_have_count(1)


async def test_enter_sends_and_shift_enter_breaks_the_line(server: Server, meet: Meet) -> None:
    chat = await (await meet(server)).open()
    await expect(chat.message).to_be_focused()
    await chat.model.select_option(TINY)
    await chat.message.focus()
    await chat.page.keyboard.type("one")
    await chat.page.keyboard.press("Shift+Enter")
    await chat.page.keyboard.type("two")
    await expect(chat.message).to_have_value("one\ntwo")
    await chat.page.keyboard.press("Enter")
    await expect(chat.answers).to_have_count(1)
    await expect(chat.message).to_have_value("")
    await expect(chat.message).to_be_focused()
    await chat.ends()
    assert server.messages(chat.chat_id, "user")[0]["text"] == "one\ntwo"


async def test_an_empty_message_is_not_sent(server: Server, meet: Meet) -> None:
    chat = await (await meet(server)).open()
    for text in ("", "  \n "):
        await chat.message.fill(text)
        await chat.message.press("Enter")
        await expect(chat.send).to_be_disabled()
    await chat.ask("Not empty", TINY)
    await chat.ends()
    assert len(server.messages(chat.chat_id, "user")) == 1


@pytest.fixture
async def streaming(endless: Server, meet: Meet) -> AsyncIterator[ChatPage]:
    """Amid an answer that has outgrown the window."""
    chat = await (await meet(endless)).open()
    await chat.ask("Go on for ever")
    await chat.holds(
        "() => { const b = document.getElementById('scroll');"
        " return b.scrollHeight > 2 * b.clientHeight; }"
    )
    yield chat
    await chat.silence()


async def test_a_message_sent_while_an_answer_runs_waits_and_can_be_taken_back(
    streaming: ChatPage,
) -> None:
    for text in ("My next question", "And another"):
        await streaming.message.fill(text)
        await streaming.message.press("Enter")
        await expect(streaming.message).to_have_value("")
    await expect(streaming.questions).to_have_count(3)
    await expect(streaming.answer.locator(".line")).to_have_text("Waiting for the answer above")
    back = streaming.page.get_by_role("button", name="Cancel and edit")
    await expect(back).to_have_count(2)
    await streaming.message.fill("Not sent yet")
    await back.first.press("Enter")  # a pointer would have to hit what the answer above moves
    await expect(streaming.questions).to_have_count(2)
    await expect(streaming.message).to_have_value("My next question\n\nNot sent yet")
    await expect(streaming.stop).to_be_visible()
    await streaming.stop.press("Enter")
    await expect(back).to_have_count(0)
    await streaming.writes()


async def test_the_page_follows_the_end_of_an_answer(streaming: ChatPage) -> None:
    for _ in range(10):
        assert await measure(streaming, FROM_END) < 40


async def test_scrolling_up_stops_following_until_the_end_is_reached(streaming: ChatPage) -> None:
    await streaming.log.hover(position={"x": 5, "y": 5}, force=True)
    await streaming.page.mouse.wheel(0, -400)
    await streaming.holds(
        "() => { const b = document.getElementById('scroll');"
        " return b.scrollHeight - b.scrollTop - b.clientHeight > 200; }"
    )
    top = await measure(streaming, AT_REST)
    for _ in range(5):
        assert await measure(streaming, FROM_END) > 200
    assert await measure(streaming, AT_REST) == top
    while await measure(streaming, FROM_END) > 40:
        await streaming.page.evaluate("document.getElementById('scroll').scrollTop = 1e9")
    for _ in range(5):
        assert await measure(streaming, FROM_END) < 40
