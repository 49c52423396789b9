"""Search over everything by keyboard alone, on pages of every kind."""

from __future__ import annotations

from playwright.async_api import expect

from tests.e2e.person import Person
from tests.e2e.server import Server
from tests.e2e.test_axe import assert_no_violations
from tests.long_chat import plant


async def test_ctrl_k_leads_everywhere(person: Person, server: Server) -> None:
    title = "A palette of autumn colours"
    plant(server.folder / "wick.db", 2, title)
    chat = await person.open()
    page = chat.page
    dialog = page.get_by_role("dialog", name="Search")
    field = dialog.get_by_role("searchbox", name="Search everything")
    options = dialog.get_by_role("option")
    active = dialog.locator("[role=option][aria-selected=true]")

    await chat.message.fill("a draft")
    await page.keyboard.press("Control+k")
    await expect(field).to_be_focused()
    await expect(options.filter(has_text=title)).to_be_visible()  # before anything is typed
    await expect(active).to_have_count(1)
    await assert_no_violations(page, "the palette", within="#palette")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(chat.message).to_be_focused()
    await expect(chat.message).to_have_value("a draft")

    await page.keyboard.press("Control+k")
    await page.keyboard.type("tiny")
    await expect(active.filter(has_text="Use in this chat")).to_be_visible()
    chosen = await active.get_attribute("id")
    await expect(field).to_have_attribute("aria-activedescendant", chosen or "")
    await page.keyboard.press("Enter")
    await expect(dialog).to_be_hidden()
    await expect(chat.message).to_be_focused()

    await page.keyboard.press("Control+k")
    await page.keyboard.type("shortcuts")
    await expect(active).to_have_text("Keyboard shortcuts")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await page.keyboard.press("Control+k")  # not over another dialog
    await expect(dialog).to_be_hidden()
    await page.keyboard.press("Escape")

    await page.goto(server.origin + "/trash")
    await chat.awakes()
    await page.keyboard.press("Control+k")
    await page.keyboard.type("autumn")
    await expect(options.first).to_contain_text(title)
    await expect(options.first.locator("mark")).to_have_text("autumn")
    first = await options.first.get_attribute("id")
    await page.keyboard.press("ArrowUp")  # round to the last
    await expect(options.last).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("ArrowDown")
    await expect(field).to_have_attribute("aria-activedescendant", first or "")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=title)).to_be_visible()
    await chat.awakes()
    await page.keyboard.press("Control+Shift+O")
    await page.wait_for_url(server.origin + "/")
    await expect(chat.message).to_be_focused()
