"""What all pages share: the list of chats, its one menu, and a header that fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.e2e.test_layout_and_scrolling import PHONE, SIDEWAYS
from tests.long_chat import plant

PAGES = (
    "/search",
    "/settings",
    "/archive",
    "/trash",
    "/models",
    "/exchange",
    "/keys",
    "/status",
    "/tools",
    "/people",
)


async def test_every_page_has_the_chats_and_the_menu(person: Person, server: Server) -> None:
    title = "A chat that is in every list"
    chat_id = plant(server.folder / "wick.db", 2, title)
    chat = await person.open()
    for path in PAGES:
        await chat.page.goto(server.origin + path)
        await expect(chat.chats.get_by_role("link", name=title, exact=True)).to_be_visible()
        menu = await chat.open_menu()
        shown = menu.locator("[aria-current=page]")
        await expect(shown).to_have_count(int(path != "/search"))
        await chat.page.keyboard.press("Escape")
        await expect(menu).to_be_hidden()
        await expect(chat.page.locator("#show-menu")).to_be_focused()
    await chat.page.keyboard.press("?")
    await expect(chat.page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await chat.use("Rename", title)
    await chat.chats.get_by_role("textbox").fill("By another name")
    await chat.page.keyboard.press("Enter")
    await expect(chat.chats.get_by_role("link", name="By another name")).to_be_visible()
    other = await person.open(f"/chats/{chat_id}")
    await other.use("Rename", "By another name")
    await other.chats.get_by_role("textbox").fill("From another tab")
    await other.page.keyboard.press("Enter")
    await expect(chat.chats.get_by_role("link", name="From another tab")).to_be_visible()
    await chat.page.keyboard.press("n")
    await expect(chat.message).to_be_focused()


async def test_the_menu_is_walked_with_arrow_keys(chat: ChatPage) -> None:
    await chat.page.locator("#show-menu").press("Enter")
    await chat.page.keyboard.press("Tab")
    menu = chat.page.get_by_role("navigation", name="Menu")
    for key, name in (("ArrowDown", "Models"), ("ArrowUp", "Settings")):
        await chat.page.keyboard.press(key)
        await expect(menu.get_by_role("link", name=name)).to_be_focused()
    await chat.page.keyboard.press("End")
    await expect(menu.get_by_role("button", name="Keyboard shortcuts")).to_be_focused()
    await chat.page.keyboard.press("Home")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Settings")


async def test_the_row_of_the_chat_is_in_view_and_the_list_does_not_jump(
    start: StartServer, tiny_store: Path, meet: Meet
) -> None:
    own = await start(tiny_store)
    chats = [plant(own.folder / "wick.db", 1, f"Chat {n}") for n in range(35)]
    chat = await (await meet(own)).open(f"/chats/{chats[-1]}")
    await chat.chats.get_by_role("link", name="Chat 3", exact=True).scroll_into_view_if_needed()
    top = await chat.chats.evaluate("one => one.scrollTop")
    await (await chat.open_menu()).get_by_role("link", name="Archive").click()
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Archive")
    await chat.holds("top => document.getElementById('chats').scrollTop === top", top)
    await chat.page.goto(f"{own.origin}/chats/{chats[-1]}")  # by an address, not by its row
    await expect(chat.chats.locator("[aria-current]")).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("width", [390, 320])
async def test_a_phone_has_a_short_header_and_no_keyboard_comes_up(
    server: Server, meet: Meet, width: int
) -> None:
    options = PHONE | {"viewport": {"width": width, "height": 700}}
    chat = await (await meet(server, **options)).open()
    await expect(chat.message).not_to_be_focused()
    assert await chat.message.evaluate("one => one.offsetWidth") > 150
    log = chat.page.locator("#scroll")
    await expect(log).to_be_focused()
    await expect(log).to_have_css("outline-style", "none")  # nobody has come by keyboard
    await chat.ask(f"On a phone of {width}", TINY)
    await chat.ends()
    header = chat.page.get_by_role("banner").or_(chat.page.locator("main > header"))
    shown = (
        await header.get_by_role("button")
        .or_(header.get_by_role("link"))
        .evaluate_all("all => all.filter(one => one.checkVisibility()).map(one => one.ariaLabel)")
    )
    assert shown == ["Show or hide the sidebar", None, "New chat", "More"]  # and the title
    # A tap on the title edits it, one below it chooses the model.
    title = header.get_by_role("button", name=f"On a phone of {width}")
    await title.tap()
    field = header.get_by_role("textbox", name="Chat name")
    await expect(field).to_be_focused()
    await field.fill("Tapped")
    await field.press("Enter")
    await expect(header.get_by_role("button", name="Tapped")).to_be_visible()
    await chat.model.tap()
    await expect(chat.page.get_by_role("dialog", name="Choose a model")).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await header.get_by_role("button", name="More").tap()
    menu = chat.page.locator("#chat-menu")
    await expect(menu.get_by_role("button", name="Delete")).to_be_in_viewport(ratio=1)
    await menu.get_by_role("button", name="Chat settings").tap()
    await expect(chat.page.get_by_role("dialog", name="Chat settings")).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await header.get_by_role("link", name="New chat").tap()
    await expect(chat.questions).to_have_count(0)
    await expect(chat.message).not_to_be_focused()
    for path in PAGES:
        await chat.page.goto(server.origin + path)
        assert not await chat.page.evaluate(SIDEWAYS), path


async def test_what_is_shown_once_can_be_copied_and_a_key_is_revoked_after_a_question(
    server: Server, meet: Meet
) -> None:
    person = await meet(server, permissions=["clipboard-read", "clipboard-write"])
    chat = await person.open("/keys")
    page = chat.page
    await page.get_by_label("Name", exact=True).fill("My editor")
    await page.get_by_role("button", name="Create key").click()
    key = await page.get_by_label("Key", exact=True).input_value()
    copy = page.get_by_role("button", name="Copy key")
    await copy.click()
    await expect(copy).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == key
    revoke = page.get_by_role("button", name="Revoke the key My editor")
    question = page.get_by_role("dialog", name="Revoke the key My editor?")
    await revoke.click()
    await question.get_by_role("button", name="Cancel").click()
    await expect(question).to_be_hidden()
    await expect(revoke).to_be_focused()
    await revoke.click()
    await question.get_by_role("button", name="Revoke").click()
    await expect(revoke).to_have_count(0)
