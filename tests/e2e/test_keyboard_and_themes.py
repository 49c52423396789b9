"""Everything by keyboard, what is said to those who do not see, themes, and what is kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, WebSocketRoute, expect

from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import CONNECTION_LOST, ChatPage, Person
from tests.e2e.server import Server
from tests.long_chat import plant

PHONE: dict[str, Any] = {"viewport": {"width": 320, "height": 640}, "has_touch": True}
# A title that can be tapped shares the header with the picker; "More" has the same as a row.
SMALL_TARGETS = """() => [...document.querySelectorAll("button, select, a[href], summary")]
  .filter(one => one.checkVisibility({visibilityProperty: true}))
  .filter(one => !one.closest(".rich, .skip, .rename"))
  .filter(one => one.offsetHeight < 44 || (one.offsetWidth < 44 && !one.matches("a")))
  .map(one => one.outerHTML)"""


@pytest.fixture
def titles(request: pytest.FixtureRequest) -> list[str]:
    return [f"{request.node.name} {n}" for n in range(3)]


@pytest.fixture
async def among_chats(person: Person, server: Server, titles: list[str]) -> ChatPage:
    """A page in the middle of three chats; the newest stands first. Nobody writes."""
    chats = [plant(server.folder / "wick.db", 2, title) for title in titles]
    chat = await person.open(f"/chats/{chats[1]}")
    await chat.message.press("Escape")
    await expect(chat.message).not_to_be_focused()
    return chat


def sheet(chat: ChatPage) -> Locator:
    return chat.page.get_by_role("dialog", name="Keyboard shortcuts")


async def test_letter_keys_go_from_chat_to_chat(among_chats: ChatPage, titles: list[str]) -> None:
    chat, heading = among_chats, among_chats.page.get_by_role("heading", level=1)
    for key, title in (("j", titles[0]), ("k", titles[1]), ("k", titles[2]), ("n", "New chat")):
        await chat.page.keyboard.press(key)
        await expect(heading).to_have_text(title)
        await chat.awakes()


async def test_c_copies_the_last_answer(among_chats: ChatPage) -> None:
    await among_chats.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await among_chats.page.keyboard.press("c")
    await expect(among_chats.page.locator("#announcer")).to_have_text("Copied")
    copied = await among_chats.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Here is what I know about point 2.")


async def test_letter_keys_are_text_while_writing(among_chats: ChatPage, titles: list[str]) -> None:
    chat = among_chats
    await chat.page.keyboard.press("m")
    await expect(chat.message).to_be_focused()
    await chat.page.keyboard.type("jkn?bxm")
    await expect(chat.message).to_have_value("jkn?bxm")
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text(titles[1])
    await chat.page.keyboard.press("Control+/")
    await expect(sheet(chat)).to_be_visible()
    await chat.page.keyboard.press("n")
    await chat.page.keyboard.press("Escape")
    await expect(sheet(chat)).to_be_hidden()
    await expect(chat.message).to_be_focused()


async def test_the_shortcut_list_names_every_key_and_switches_letter_keys_off(
    among_chats: ChatPage,
) -> None:
    chat = among_chats
    await chat.page.keyboard.press("?")
    await expect(sheet(chat)).to_be_visible()
    named = set(await sheet(chat).locator("kbd").all_inner_texts()) - {"Esc", "Ctrl", "Enter", "/"}
    carried = await chat.page.locator("[data-key]").evaluate_all(
        "all => all.map(a => a.dataset.key)"
    )
    assert named >= {*carried, "j", "k"}
    await sheet(chat).get_by_label("Enable single-letter shortcuts").uncheck()
    await sheet(chat).get_by_role("button", name="Close").click()
    for _ in range(2):
        await chat.page.keyboard.press("?")
        await expect(sheet(chat)).to_be_hidden()
        await chat.reload()
        await chat.message.press("Escape")
    await (await chat.open_menu()).get_by_role("button", name="Keyboard shortcuts").click()
    await sheet(chat).get_by_label("Enable single-letter shortcuts").check()
    await chat.page.keyboard.press("Escape")
    await expect(chat.page.get_by_role("button", name="Menu", exact=True)).to_be_focused()
    await chat.page.keyboard.press("?")
    await expect(sheet(chat)).to_be_visible()


async def test_a_hidden_sidebar_stays_hidden(among_chats: ChatPage) -> None:
    chat = among_chats
    opener = chat.page.get_by_role("button", name="Show or hide the sidebar")
    await expect(opener).to_have_attribute("aria-expanded", "true")
    await chat.page.keyboard.press("b")
    await expect(chat.chats).to_be_hidden()
    await expect(opener).to_have_attribute("aria-expanded", "false")
    await chat.reload()
    await expect(chat.chats).to_be_hidden()
    await expect(opener).to_have_attribute("aria-expanded", "false")
    await opener.click()
    await expect(chat.chats).to_be_visible()


async def test_the_theme_is_chosen_and_remembered(server: Server, meet: Meet) -> None:
    person = await meet(server, color_scheme="light")
    chat, other = await person.open(), await person.open()
    scheme = "getComputedStyle(document.body).backgroundColor === 'rgb(27, 25, 22)'"
    await (await chat.open_menu()).get_by_role("link", name="Settings").click()
    await chat.page.get_by_role("combobox", name="Theme").select_option("Dark")
    for tab in (chat, other):
        await tab.holds(f"() => {scheme}")
    await chat.page.goto(f"{server.origin}/status")
    await chat.holds(f"() => {scheme}")
    await chat.page.goto(f"{server.origin}/settings")
    await expect(chat.page.get_by_role("combobox", name="Theme")).to_have_value("dark")
    colour = "meta[name=theme-color]"
    await expect(chat.page.locator(colour)).to_have_attribute("content", "rgb(27, 25, 22)")
    await chat.page.emulate_media(media="print", color_scheme="dark")
    await chat.holds("() => getComputedStyle(document.body).colorScheme === 'light'")
    await chat.page.emulate_media(media="screen", color_scheme="light")
    await chat.page.get_by_role("combobox", name="Theme").select_option("System theme")
    await chat.holds(f"() => !({scheme})")
    await chat.page.emulate_media(color_scheme="dark")
    await chat.holds(f"() => {scheme}")


async def test_the_theme_is_there_before_the_first_paint(server: Server, meet: Meet) -> None:
    person = await meet(server, color_scheme="light")
    await person.context.add_init_script(
        "try { localStorage.theme ??= 'dark'; } catch { /* the empty page */ }"
    )
    await person.context.add_init_script(
        "new MutationObserver((_, me) => { if (!document.body) return; me.disconnect();"
        " window.atBody = document.documentElement.dataset.theme; })"
        ".observe(document, {childList: true, subtree: true})"
    )
    chat = await person.open()
    assert await chat.page.evaluate("window.atBody") == "dark"


async def test_drafts_survive_a_reload(person: Person, server: Server, titles: list[str]) -> None:
    one, other = (plant(server.folder / "wick.db", 2, title) for title in titles[:2])
    chat = await person.open(f"/chats/{one}")
    await chat.message.fill("for one\n" * 5)
    await chat.page.goto(f"{server.origin}/chats/{other}")
    await expect(chat.message).to_have_value("")
    await chat.message.fill("for the other")
    await chat.page.goto(server.origin)
    await chat.message.fill("for the next one")
    await chat.reload()
    await expect(chat.message).to_have_value("for the next one")
    await chat.ask("for the next one", TINY)
    await expect(chat.message).to_have_value("")
    await chat.ends()
    await chat.page.goto(server.origin)
    await expect(chat.message).to_have_value("")
    await chat.page.goto(f"{server.origin}/chats/{other}")
    await expect(chat.message).to_have_value("for the other")
    await chat.page.goto(f"{server.origin}/chats/{one}")
    await expect(chat.message).to_have_value("for one\n" * 5)
    await chat.holds("() => document.getElementById('message').clientHeight > 100")


async def test_a_draft_is_kept_until_the_server_has_it(
    start: StartServer, tiny_store: Path, meet: Meet
) -> None:
    own = await start(tiny_store, max_tokens=20)
    person = await meet(own)
    person.expects(CONNECTION_LOST)
    chat = await person.open()
    await own.stop()
    await expect(chat.page.get_by_text("Connection lost.")).to_be_visible()
    await chat.message.fill("Sent into the void")
    await chat.message.press("Enter")
    await chat.holds("() => localStorage.drafts?.includes('Sent into the void')")
    await own.start()
    await expect(chat.questions).to_have_count(1)
    await expect(chat.message).to_have_value("")
    await chat.holds("() => localStorage.drafts === '[]'")
    await chat.ends()


async def test_only_the_newest_drafts_are_kept(person: Person) -> None:
    chat = await person.open()
    await chat.page.evaluate(
        "localStorage.drafts = JSON.stringify([...Array(50).keys()].map(n => [`/chats/${n}`, 'x']))"
    )
    await chat.message.fill("newest")
    await chat.holds("() => localStorage.drafts.includes('newest')")
    kept = await chat.page.evaluate("JSON.parse(localStorage.drafts)")
    assert len(kept) == 40
    assert kept[-1][1] == "newest"


@pytest.fixture
async def streaming(endless: Server, meet: Meet) -> AsyncIterator[ChatPage]:
    """Amid an answer that has outgrown the window; what was said aloud is in `window.said`."""
    person = await meet(endless)
    chat = await person.open()
    await chat.page.evaluate(
        "window.said = []; new MutationObserver(() => said.push("
        "document.getElementById('announcer').textContent)).observe("
        "document.getElementById('announcer'), {childList: true, characterData: true})"
    )
    await chat.ask("Go on for ever")
    await chat.holds(
        "() => { const b = document.getElementById('scroll');"
        " return b.scrollHeight > 2 * b.clientHeight; }"
    )
    yield chat
    if await chat.stop.count():
        await chat.stop.click()
        await chat.ends("stopped")


async def test_a_button_scrolls_to_the_end(streaming: ChatPage) -> None:
    button = streaming.page.get_by_role("button", name="Go to end")
    await expect(button).to_be_hidden()
    await streaming.log.hover(position={"x": 5, "y": 5}, force=True)
    await streaming.page.mouse.wheel(0, -400)
    await button.click()
    await expect(button).to_be_hidden()
    await streaming.holds(
        "() => { const b = document.getElementById('scroll');"
        " return b.scrollHeight - b.scrollTop - b.clientHeight < 40; }"
    )


async def test_a_screen_reader_hears_little_of_a_growing_answer(streaming: ChatPage) -> None:
    await expect(streaming.log).to_have_attribute("aria-live", "off")
    await expect(streaming.message).to_be_focused()
    await streaming.message.press("Escape")
    await streaming.page.keyboard.press("x")
    await streaming.ends("stopped")
    await expect(streaming.page.locator("#announcer")).to_have_text("The answer has ended.")
    said = [text for text in await streaming.page.evaluate("said") if text]
    assert said == ["The model is answering.", "The answer has ended."]


async def test_the_first_tab_stop_leads_to_the_message(person: Person) -> None:
    chat = await person.open()
    skip = chat.page.get_by_role("link", name="Skip to message box")
    await skip.focus()
    await expect(skip).to_be_in_viewport()
    first = "document.querySelector('a, button, input, select, textarea').className"
    assert await chat.page.evaluate(first) == "skip"
    await chat.page.keyboard.press("Enter")
    await expect(chat.message).to_be_focused()
    await expect(chat.page).to_have_url(re.compile("#message$"))


async def test_touch_targets_are_large_enough_on_the_smallest_phone(
    server: Server, meet: Meet
) -> None:
    chat_id = plant(server.folder / "wick.db", 4, "Averylongtitlewithoutanybreak" * 5)
    chat = await (await meet(server, **PHONE)).open(f"/chats/{chat_id}")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await chat.page.evaluate(wide)
    assert await chat.page.evaluate(SMALL_TARGETS) == []
    await chat.page.get_by_role("button", name="Show or hide the sidebar").click()
    await expect(chat.page.get_by_role("button", name="Close sidebar")).to_be_focused()
    assert await chat.page.evaluate(SMALL_TARGETS) == []
    await chat.page.keyboard.press("Escape")
    await expect(chat.chats).to_be_hidden()
    await expect(chat.page.get_by_role("button", name="Show or hide the sidebar")).to_be_focused()


async def test_each_line_is_written_in_its_own_direction(person: Person, server: Server) -> None:
    chat = await person.open()
    await chat.ask("مرحبا، كيف حالك؟", TINY)
    await chat.ends()
    rtl = "one => getComputedStyle(one).direction"
    assert await chat.questions.locator(".body").evaluate(rtl) == "rtl"
    assert await chat.page.get_by_role("heading", level=1).evaluate(rtl) == "rtl"
    assert await chat.chats.locator("a[aria-current=page]").evaluate(rtl) == "rtl"
    await chat.message.fill("שלום")
    assert await chat.message.evaluate(rtl) == "rtl"


async def test_an_unsaved_edit_survives_a_reload(
    person: Person, server: Server, titles: list[str]
) -> None:
    chat = await person.open(f"/chats/{plant(server.folder / 'wick.db', 4, titles[0])}")
    words = chat.page.get_by_role("textbox", name="Edit message")
    edit = chat.questions.first.get_by_role("button", name="Edit", exact=True)
    await edit.click()
    await expect(words).to_have_value("Question 1?")
    await words.fill("In other wo")
    await chat.reload()
    await expect(words).to_have_value("In other wo")
    await words.press("Escape")
    await expect(words).to_have_count(0)
    await expect(edit).to_be_focused()
    await chat.reload()
    await expect(words).to_have_count(0)
    await edit.click()
    await expect(words).to_have_value("Question 1?")
    await words.fill("In other words")
    await chat.model.select_option(TINY)
    await words.press("Enter")
    await expect(chat.questions.first.locator(".body")).to_have_text("In other words")
    await chat.ends()
    await chat.holds("() => localStorage.drafts === '[]'")


async def test_a_message_sent_before_the_page_is_connected_is_sent_once(
    person: Person, server: Server
) -> None:
    """Refused twice, it would unlock the composer amid the next message."""
    page, connects, sent = await person.window(), asyncio.Event(), list[str | bytes]()

    async def connect_late(socket: WebSocketRoute) -> None:
        await connects.wait()
        there = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            sent.append(message)
            there.send(message)

        socket.on_message(pass_on)

    await page.route_web_socket("**/live**", connect_late)
    await page.goto(server.origin)
    chat = ChatPage(page)
    await chat.awakes()
    await chat.model.select_option(TINY)
    await chat.message.fill("Early")
    await chat.message.press("Enter")
    connects.set()
    await expect(chat.answers).to_have_count(1)
    await chat.ends()
    await expect(chat.message).to_have_value("")
    assert len(sent) == 1


async def test_nothing_moves_with_reduced_motion(server: Server, meet: Meet) -> None:
    phone = {**PHONE, "reduced_motion": "reduce"}
    chat = await (await meet(server, **phone)).open()
    await chat.page.get_by_role("button", name="Show or hide the sidebar").click()
    await expect(chat.chats).to_be_visible()
    moving = (
        "[...document.querySelectorAll('*')].filter(one => getComputedStyle(one).transitionDuration"
    )
    assert await chat.page.evaluate(f"{moving} !== '0s').length") == 0
    assert await chat.page.evaluate("document.getAnimations().length") == 0
    smooth = (
        "[...document.querySelectorAll('*')].filter(one => getComputedStyle(one).scrollBehavior"
    )
    assert await chat.page.evaluate(f"{smooth} === 'smooth').length") == 0
