"""A temporary chat as a person meets it: switched on, marked, reloaded, and gone."""

from __future__ import annotations

from playwright.async_api import expect

from tests.e2e.conftest import TINY
from tests.e2e.person import Person
from tests.e2e.server import Server

SECRET = "a secret about foxes"


async def test_a_temporary_chat_from_its_switch_to_its_end(person: Person, server: Server) -> None:
    chat = await person.open()
    page = chat.page
    await chat.message.fill(SECRET)
    switch = page.get_by_role("button", name="Temporary chat")
    await expect(switch).to_have_attribute("aria-pressed", "false")
    await switch.press("Enter")
    await page.wait_for_url("**/temporary*")
    await chat.awakes()
    await expect(switch).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_role("heading", name="Temporary chat")).to_be_visible()
    await expect(chat.message).to_have_value(SECRET)  # what was written before goes along
    await expect(chat.message).to_be_focused()
    stored = "() => Object.values(localStorage).join() + Object.values(sessionStorage).join()"
    assert SECRET not in await page.evaluate(stored)

    await chat.ask(f"{SECRET}, please", TINY)
    await chat.ends()
    await expect(page.get_by_text("Temporary chat: nothing is saved")).to_be_visible()
    assert SECRET not in await page.title()
    await chat.message.fill("half a secret about foxes")
    assert "secret" not in await page.evaluate(stored)
    await chat.reload()
    await expect(chat.questions).to_contain_text(f"{SECRET}, please")
    await expect(chat.chats.get_by_text("secret")).to_have_count(0)
    await page.get_by_role("button", name="More", exact=True).click()
    menu = page.locator("#chat-menu")
    await expect(menu.get_by_role("button")).to_have_text(
        ["Chat settings", "Tools", "Talk", "Keep this chat", "Delete now"]
    )
    await menu.get_by_role("button", name="Delete now").click()
    await expect(switch).to_have_attribute("aria-pressed", "false")
    await expect(chat.message).to_have_value("")
    await expect(chat.chats.get_by_text("secret")).to_have_count(0)
