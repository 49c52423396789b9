"""Browsers that know less than this one, and what each draws in its own way."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Route, async_playwright, expect

from tests.e2e.conftest import FLAGS, TINY, Meet, executable
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant

UNKNOWN = re.compile(r"light-dark\(|field-sizing|:popover-open|:has\(")
MOUSE = (
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,"
    "primaryPointerType=4,availablePointerTypes=4"
)
FORGET = """
delete HTMLElement.prototype.popover;
delete HTMLElement.prototype.hidePopover;
delete HTMLFormElement.prototype.requestSubmit;
delete Element.prototype.checkVisibility;
new MutationObserver(() => {
  for (const one of document.querySelectorAll("[popover]")) one.removeAttribute("popover");
}).observe(document, {childList: true, subtree: true});
const unknown = /light-dark|field-sizing|popover-open|:has/;
const supports = CSS.supports.bind(CSS);
CSS.supports = (...given) => !unknown.test(given.join()) && supports(...given);
for (const name of ["closest", "matches"]) {
  const known = Element.prototype[name];
  Element.prototype[name] = function (selector) {
    if (unknown.test(selector)) throw new SyntaxError(`${selector} is not a valid selector`);
    return known.call(this, selector);
  };
}
"""
HEIGHT = "one => one.getBoundingClientRect().height"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 700}}


async def forget(route: Route) -> None:
    """Pass a style sheet on without what an older browser does not understand."""
    answer = await route.fetch()
    text = UNKNOWN.sub(
        lambda found: found[0].replace("-", "-un", 1).replace(":has", ":un"), await answer.text()
    )
    await route.fulfill(response=answer, body=text)


async def open_in_older(meet: Meet, server: Server, title: str, **options: Any) -> ChatPage:
    """Open a chat in a browser from before 2023; the fixture checks that no script failed."""
    person = await meet(server, **options)
    await person.context.add_init_script(FORGET)
    await person.context.route(re.compile(r"all\.css"), forget)
    chat_id = plant(server.folder / "wick.db", 2, title)
    return await person.open(f"/chats/{chat_id}")


async def test_an_older_browser_has_colours_keys_and_sends(server: Server, meet: Meet) -> None:
    chat = await open_in_older(meet, server, "Colours", color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert await chat.page.evaluate(paper) == "rgb(253, 252, 250)"
    await chat.message.press("Escape")
    await chat.page.keyboard.press("m")
    await expect(chat.message).to_be_focused()
    await chat.ask("Do you hear me?", TINY)
    await chat.ends()


async def test_an_older_browser_has_a_drawer_and_a_menu(server: Server, meet: Meet) -> None:
    title = f"Drawer {secrets.token_hex(3)}"
    chat = await open_in_older(meet, server, title, **PHONE)
    await expect(chat.chats).to_be_hidden()
    await chat.page.get_by_role("button", name="Show or hide the sidebar").click()
    await expect(chat.chats).to_be_visible()
    for verb, pinned in (("Pin", 1), ("Unpin", 0)):
        await chat.use(verb, title)
        await expect(chat.page.locator("#chat-menu")).to_be_hidden()
        await expect(chat.chats.locator(".pinned li")).to_have_count(pinned)
    await chat.page.keyboard.press("Escape")
    await expect(chat.chats).to_be_hidden()


async def test_the_composer_grows_without_field_sizing(server: Server, meet: Meet) -> None:
    chat = await open_in_older(meet, server, "Growing")
    one_line = await chat.message.evaluate(HEIGHT)
    assert one_line < 50
    await chat.message.fill("line\n" * 4)
    assert await chat.message.evaluate(HEIGHT) > one_line + 60
    await chat.message.fill("")
    assert await chat.message.evaluate(HEIGHT) == one_line


async def test_the_context_meter_is_drawn_in_the_colours_of_the_theme(
    server: Server, meet: Meet
) -> None:
    """Browsers draw a `meter` each in its own way, some of them white in the dark."""
    chat = await (await meet(server, color_scheme="dark")).open()
    await chat.ask("How full is it?", TINY)
    await chat.ends()
    line = chat.page.locator("#gauge-line")
    await expect(line).to_contain_text("% full")
    await expect(line.locator("meter")).to_have_count(0)
    bar = line.locator("svg")
    assert await bar.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(56, 51, 45)"
    assert await bar.evaluate("one => getComputedStyle(one).fill") == "rgb(240, 145, 74)"


async def test_steps_from_chat_to_chat_leave_the_focus_outside_of_fields(
    server: Server, meet: Meet
) -> None:
    """Safari follows `autofocus` after our scripts have run, so the message box has none."""
    chats = [plant(server.folder / "wick.db", 2, f"Step {n}") for n in range(3)]
    chat = await (await meet(server)).open(f"/chats/{chats[2]}")
    heading = chat.page.get_by_role("heading", level=1)
    await expect(chat.message).not_to_have_attribute("autofocus", re.compile(""))
    await expect(chat.message).to_be_focused()
    await chat.message.press("Escape")
    for title in ("Step 1", "Step 0"):
        await chat.page.keyboard.press("j")
        await expect(heading).to_have_text(title)
        await expect(chat.page.locator("#scroll")).to_be_focused()
        await chat.awakes()


@pytest.fixture
async def mouse_chat(server: Server) -> AsyncIterator[ChatPage]:
    """A page of a browser with a mouse and with scrollbars."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable(),
            args=[*FLAGS, MOUSE],
            ignore_default_args=["--hide-scrollbars"],
        )
        page = await browser.new_page()
        chat_id = plant(
            server.folder / "wick.db", 2, "A title that is longer than the list is wide"
        )
        await page.goto(f"{server.origin}/chats/{chat_id}")
        yield ChatPage(page)
        await browser.close()


async def test_nothing_scrolls_sideways_under_the_list_of_chats(mouse_chat: ChatPage) -> None:
    assert await mouse_chat.page.evaluate("matchMedia('(hover: hover)').matches")
    sideways = "one => [one.scrollWidth - one.clientWidth, one.offsetHeight - one.clientHeight]"
    assert await mouse_chat.chats.evaluate(sideways) == [0, 0]
