"""Saved prompts in the composer, and what else its keys do."""

from __future__ import annotations

from playwright.async_api import expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.person import Person
from tests.e2e.server import Server


async def test_a_prompt_is_saved_and_inserted_by_its_name(person: Person) -> None:
    chat = await person.open()
    page = chat.page
    await chat.message.press_sequentially("/")
    await page.get_by_role("link", name="Manage saved prompts").click()
    for name, text in (
        ("Reply", "Reply in {{language}} to {{name}}."),
        ("Thanks", "Thank them."),
    ):
        await page.get_by_role("textbox", name="Name").fill(name)
        await page.get_by_role("textbox", name="Prompt").fill(text)
        await page.get_by_role("button", name="Add prompt").click()
        await expect(page.get_by_text("Prompt saved.")).to_be_visible()
    await page.get_by_role("link", name="New chat").first.click()
    options = page.get_by_role("listbox", name="Saved prompts").get_by_role("option")
    await chat.message.fill("")  # the slash of before was a draft
    await chat.message.press_sequentially("/")
    await expect(options).to_have_count(2)
    await chat.message.press("Escape")
    await expect(options).to_have_count(0)
    await expect(chat.message).to_have_value("/")
    await chat.message.press("Backspace")
    await chat.message.press_sequentially("/th")
    await expect(options).to_have_count(1)
    await chat.message.press("Enter")
    await expect(chat.message).to_have_value("Thank them.")
    await expect(chat.message).to_be_focused()
    await chat.message.fill("")
    await chat.message.press_sequentially("/")
    await expect(options.first).to_have_attribute("aria-selected", "true")
    await chat.message.press("Tab")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("textbox", name="language")).to_be_focused()
    await page.keyboard.type("French")
    await dialog.get_by_role("textbox", name="name").fill("Zoe")
    await dialog.get_by_role("button", name="Insert").click()
    await expect(chat.message).to_have_value("Reply in French to Zoe.")
    await expect(chat.message).to_be_focused()
    await expect(chat.questions).to_have_count(0)
    await chat.message.fill("/what is this")  # not a name: a message as any other
    await expect(options).to_have_count(0)


async def test_arrow_up_edits_the_last_message_and_escape_stops(
    endless: Server, meet: Meet
) -> None:
    chat = await (await meet(endless)).open()
    await chat.lengthen()
    await chat.ask("one", TINY)
    await chat.writes()
    await chat.message.press("Escape")
    await chat.ends("stopped")
    await expect(chat.message).to_be_focused()
    await chat.message.fill("text")
    await chat.message.press("ArrowUp")
    await expect(chat.page.get_by_role("textbox", name="Edit message")).to_have_count(0)
    await chat.message.fill("")
    await chat.message.press("ArrowUp")
    words = chat.page.get_by_role("textbox", name="Edit message")
    await expect(words).to_be_focused()
    await words.press("Escape")
    await expect(words).to_have_count(0)
    await chat.message.press("Escape")  # nothing to stop: it leaves the box
    await expect(chat.message).not_to_be_focused()
