"""A persona from its making to a chat with it."""

from __future__ import annotations

from playwright.async_api import expect

from tests.e2e.conftest import TINY
from tests.e2e.person import Person


async def test_a_persona_is_made_and_a_chat_begins_with_it(person: Person) -> None:
    chat = await person.open()
    page = chat.page
    suggestions = page.get_by_role("list", name="Suggestions").get_by_role("button")
    await expect(suggestions).to_have_count(4)
    await suggestions.first.click()
    await expect(chat.message).to_have_value(await suggestions.first.inner_text())
    await expect(chat.message).to_be_focused()
    await page.goto(f"{person.server.origin}/personas")
    await page.get_by_role("textbox", name="Name").fill("Editor")
    await page.get_by_role("textbox", name="Emoji").fill("✍️")
    await page.get_by_role("textbox", name="Instructions").fill("Correct my spelling.")
    await page.get_by_role("textbox", name="Starters").fill("Proofread this:\nShorten this:")
    await page.get_by_role("combobox", name="Model").select_option(TINY)
    await page.get_by_role("button", name="Add persona").click()
    await page.get_by_role("link", name="New chat with Editor").click()
    await expect(page.locator("#persona")).to_contain_text("Editor")
    await expect(suggestions).to_have_text(["Proofread this:", "Shorten this:"])
    await suggestions.last.click()
    await expect(chat.message).to_have_value("Shorten this:")
    await chat.message.press("Enter")
    await expect(chat.answers).to_have_count(1)
    await chat.ends()
    await chat.reload()
    await expect(page.locator("#persona")).to_contain_text("Editor")
    await expect(chat.model).to_have_value(TINY)
    await page.get_by_role("button", name="Chat settings").click()
    words = page.get_by_role("dialog").get_by_label("System prompt")
    await expect(words).to_have_value("Correct my spelling.")
