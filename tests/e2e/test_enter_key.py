"""Which Enter sends: by keyboard, with an input method, and on a phone."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Locator, expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.long_chat import plant

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
# As Safari says that an Enter, or an Escape, only ended the word that was being composed.
COMPOSED = """(field, key) => field.dispatchEvent(new KeyboardEvent(
  "keydown", {key, keyCode: 229, bubbles: true, cancelable: true}))"""


async def is_left_alone(field: Locator, key: str) -> bool:
    """Nothing was done about a key of an input method."""
    unprevented: bool = await field.evaluate(COMPOSED, key)
    return unprevented


async def test_enter_does_not_send_a_word_that_an_input_method_composes(
    person: Person, server: Server
) -> None:
    chat = await person.open(f"/chats/{plant(server.folder / 'wick.db', 2, 'Composed')}")
    await chat.message.fill("にほ")
    assert await is_left_alone(chat.message, "Enter")
    await expect(chat.message).to_have_value("にほ")
    await chat.message.evaluate(COMPOSED, "Escape")
    await expect(chat.message).to_be_focused()
    await chat.questions.first.get_by_role("button", name="Edit", exact=True).click()
    words = chat.page.get_by_role("textbox", name="Edit message")
    for key in ("Enter", "Escape"):
        assert await is_left_alone(words, key)
    await expect(words).to_be_visible()
    await words.press("Escape")
    await chat.use("Rename", "Composed")
    name = chat.page.get_by_role("textbox", name="Chat name")
    for key in ("Enter", "Escape"):
        assert await is_left_alone(name, key)
    await expect(name).to_be_visible()
    await name.press("Escape")
    await chat.page.locator("#scroll").focus()
    assert await is_left_alone(chat.page.locator("#scroll"), "?")
    await expect(chat.page.get_by_role("dialog")).to_have_count(0)
    await expect(chat.questions).to_have_count(1)


async def test_on_a_phone_enter_breaks_the_line(server: Server, meet: Meet) -> None:
    chat = await (await meet(server, **PHONE)).open()
    await chat.model.select_option(TINY)
    await write_two_lines(chat, chat.message)
    await chat.send.click()
    await expect(chat.questions).to_have_count(1)
    await chat.ends()
    await chat.questions.get_by_role("button", name="Edit", exact=True).click()
    words = chat.page.get_by_role("textbox", name="Edit message")
    await words.fill("")
    await write_two_lines(chat, words)
    await chat.page.keyboard.press("Control+Enter")
    await expect(chat.questions.locator(".body")).to_have_text("one\ntwo", use_inner_text=True)
    await chat.ends()
    await chat.message.fill("by a keyboard")
    await chat.message.press("Meta+Enter")
    await expect(chat.questions).to_have_count(2)
    await chat.ends()


async def write_two_lines(chat: ChatPage, field: Locator) -> None:
    await field.focus()
    await expect(field).to_have_attribute("enterkeyhint", "enter")
    await chat.page.keyboard.type("one")
    await chat.page.keyboard.press("Enter")
    await chat.page.keyboard.type("two")
    await expect(field).to_have_value("one\ntwo")
    await expect(chat.answers).to_have_count(await chat.questions.count())


async def test_a_hint_says_which_enter_sends(server: Server, meet: Meet) -> None:
    wide: dict[str, Any] = {"viewport": {"width": 1100, "height": 800}}
    for options, hint in (
        (wide, "Enter to send"),
        (wide | {"has_touch": True}, "Ctrl+Enter to send"),
    ):
        chat = await (await meet(server, **options)).open()
        await expect(chat.page.locator(".hint")).to_contain_text(hint, use_inner_text=True)
        wanted = "enter" if "has_touch" in options else "send"
        await expect(chat.message).to_have_attribute("enterkeyhint", wanted)
