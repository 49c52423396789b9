"""Ten tasks in a row by keyboard alone: nothing is clicked, and no focus is set by a script."""

from __future__ import annotations

from playwright.async_api import Locator, expect

from tests.e2e.conftest import Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant

MOST_STOPS = 60
"""After so many stops of the Tab key everything on a page has had the focus."""


async def tab_to(chat: ChatPage, wanted: Locator) -> None:
    """Press Tab until this has the focus; what arrows reach inside a list or a toolbar, too."""
    for _ in range(MOST_STOPS):
        if await has_focus(wanted):
            return
        await chat.page.keyboard.press("Tab")
    raise AssertionError(f"The Tab key never comes to {wanted}")


async def has_focus(wanted: Locator) -> bool:
    return await wanted.count() > 0 and bool(
        await wanted.evaluate("(one) => one === document.activeElement")
    )


async def arrow_to(chat: ChatPage, key: str, wanted: Locator) -> None:
    for _ in range(20):
        if await has_focus(wanted):
            return
        await chat.page.keyboard.press(key)
    raise AssertionError(f"{key} never comes to {wanted}")


async def test_ten_tasks_by_keyboard_alone(endless: Server, meet: Meet) -> None:
    plant(endless.folder / "wick.db", 2, "Geese in autumn")
    person = await meet(endless)
    chat = await person.open("/")
    page, keys = chat.page, chat.page.keyboard

    # 1, 2: ask, and stop the answer.
    await expect(chat.message).to_be_focused()
    await keys.type("Tell me of geese")
    await keys.press("Enter")
    await chat.writes()
    await expect(chat.message).to_be_focused()
    await tab_to(chat, chat.stop)
    await keys.press("Enter")
    await chat.ends("stopped")

    # 3: another answer.
    answer = chat.answer.get_by_role("toolbar", name="Answer actions")
    again = answer.get_by_role("button", name="Regenerate", exact=True)
    await tab_to(chat, answer.get_by_role("button").first)
    await arrow_to(chat, "ArrowRight", again)
    await keys.press("Enter")
    await expect(chat.answer.get_by_text("2/2")).to_be_visible()
    await chat.writes()
    await tab_to(chat, chat.stop)
    await keys.press("Enter")
    await chat.ends("stopped")

    # 4: the question in other words.
    asked = chat.questions.last.get_by_role("toolbar", name="Message actions")
    await tab_to(chat, asked.get_by_role("button").first)
    await arrow_to(chat, "ArrowRight", asked.get_by_role("button", name="Edit", exact=True))
    await keys.press("Enter")
    await expect(page.get_by_role("textbox", name="Edit message")).to_be_focused()
    await keys.press("Control+a")
    await keys.type("Tell me of ducks")
    await keys.press("Enter")
    await expect(chat.questions.last.locator(".body")).to_have_text("Tell me of ducks")
    await chat.writes()
    await keys.press("Escape")  # which stops it as well
    await chat.ends("stopped")

    # 5: its instructions.
    await tab_to(chat, page.get_by_role("button", name="Chat settings"))
    await keys.press("Enter")
    dialog = page.get_by_role("dialog", name="Chat settings")
    await expect(dialog.get_by_role("textbox").first).to_be_focused()
    await keys.type("Be brief.")
    await tab_to(chat, dialog.get_by_role("button", name="Save"))
    await keys.press("Enter")
    await expect(dialog).to_be_hidden()

    # 6: another chat of the list, 7: its name.
    row = chat.chats.get_by_role("link", name="Geese in autumn", exact=True)
    await tab_to(chat, chat.chats.locator("a[aria-current]"))
    await arrow_to(chat, "ArrowDown", row)
    await keys.press("Enter")
    title = page.get_by_role("heading", level=1)
    await expect(title).to_have_text("Geese in autumn")
    await chat.awakes()
    await tab_to(chat, row)
    await keys.press("ArrowRight")
    await keys.press("Enter")
    await arrow_to(chat, "ArrowDown", page.locator("#chat-menu").get_by_text("Rename"))
    await keys.press("Enter")
    await expect(chat.chats.get_by_role("textbox", name="Chat name")).to_be_focused()
    await keys.press("Control+a")
    await keys.type("Geese in spring")
    await keys.press("Enter")
    await expect(title).to_have_text("Geese in spring")

    # 8: find it.
    await keys.press("Escape")
    await tab_to(chat, page.get_by_role("link", name="Search", exact=True))
    await keys.press("Enter")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await keys.type("in spring")
    found = page.locator(".found").get_by_role("link").first
    await expect(found).to_be_visible()
    await tab_to(chat, found)
    await keys.press("Enter")
    await expect(title).to_have_text("Geese in spring")
    await chat.awakes()

    # 9: throw it away and take it back, 10: begin a new one.
    row = chat.chats.get_by_role("link", name="Geese in spring", exact=True)
    await tab_to(chat, row)
    await keys.press("ArrowRight")
    await keys.press("Enter")
    await arrow_to(chat, "ArrowDown", page.locator("#chat-menu").get_by_text("Delete"))
    await keys.press("Enter")
    await expect(row).to_have_count(0)
    await tab_to(chat, page.get_by_role("button", name="Undo"))
    await keys.press("Enter")
    await expect(row).to_have_count(1)
    await tab_to(chat, page.get_by_role("link", name="New chat"))
    await keys.press("Enter")
    await expect(chat.message).to_be_focused()
    await expect(chat.questions).to_have_count(0)
