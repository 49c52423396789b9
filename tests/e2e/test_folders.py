"""Folders of chats as a person uses them: by menu, by keyboard and by drag."""

from __future__ import annotations

from playwright.async_api import expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.server import Server
from tests.e2e.test_axe import assert_no_violations
from tests.long_chat import plant


async def test_chats_are_put_into_folders(endless: Server, meet: Meet) -> None:
    first, second = "Sourdough for beginners", "Rye without a scale"
    for title in (first, second):
        plant(endless.folder / "wick.db", 2, title)
    chat = await (await meet(endless)).open()
    page, chats = chat.page, chat.chats
    await chat.use("Move to folder", first)
    dialog = page.get_by_role("dialog", name="Move to folder")
    await expect(dialog.get_by_label("New folder")).to_be_focused()
    await page.keyboard.type("Baking")
    await page.keyboard.press("Enter")
    await expect(dialog).to_be_hidden()
    folder = chats.get_by_role("button", name="Baking 1 chat", exact=True)
    await expect(folder).to_have_attribute("aria-expanded", "true")

    group = chats.locator(".folder").filter(has_text="Baking")
    await chats.get_by_role("link", name=second).drag_to(group)
    await expect(group.get_by_role("link")).to_have_text([second, first])
    await assert_no_violations(page, "folders", within="#sidebar")

    await page.get_by_role("button", name="New folder", exact=True).click()
    await expect(page.get_by_role("dialog").get_by_role("textbox")).to_be_focused()
    await page.keyboard.type("Empty")
    await page.keyboard.press("Enter")
    await expect(chats.get_by_role("button", name="Empty 0 chats")).to_be_visible()

    head = chats.get_by_role("button", name="Baking 2 chats")
    await head.press("Enter")
    await expect(group.get_by_role("link")).to_have_count(0)
    await page.reload()
    await chat.awakes()
    await expect(head).to_have_attribute("aria-expanded", "false")

    await chats.get_by_role("button", name="Menu for folder Baking").click()
    await page.locator("#chat-menu").get_by_role("button", name="Folder settings").click()
    settings = page.get_by_role("dialog", name="Folder settings")
    await settings.get_by_label("Instructions").fill("Answer as a baker.")
    await settings.get_by_role("button", name="Save").click()
    await expect(settings).to_be_hidden()
    await chats.get_by_role("button", name="Menu for folder Baking").click()
    await page.locator("#chat-menu").get_by_role("link", name="New chat here").click()
    await expect(page.get_by_text("In the folder Baking.")).to_be_visible()
    await chat.awakes()
    await chat.ask("How long does it rise?", TINY)
    await expect(chats.get_by_role("button", name="Baking 3 chats")).to_be_visible()
    await chat.silence()

    await chats.get_by_role("button", name="Menu for folder Baking").click()
    await page.locator("#chat-menu").get_by_role("button", name="Delete folder").click()
    await expect(group).to_have_count(0)
    await expect(chats.get_by_role("link", name=second)).to_be_visible()
