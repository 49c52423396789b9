"""The list of chats and the buttons of a message: one stop of the Tab key each, with arrow keys."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.e2e.conftest import Meet
from tests.e2e.server import Server
from tests.long_chat import plant

HERE = "document.activeElement"


async def stops(page: Page) -> list[str]:
    """What the Tab key comes to on its way from the message field back to it."""
    found: list[str] = []
    await page.get_by_role("textbox", name="Message", exact=True).focus()
    while len(found) < 100:
        await page.keyboard.press("Tab")
        if await page.evaluate(f"{HERE}.id") == "message":
            break
        group = f"{HERE}.closest('#chats, [role=toolbar]')"
        found.append(await page.evaluate(f"{group}?.id || {group}?.className"))
    return found


async def test_lists_and_toolbars_are_one_stop_each(server: Server, meet: Meet) -> None:
    database = server.folder / "wick.db"
    titles = [f"Roving {number}" for number in (1, 2, 3)]
    chat_id = [plant(database, 6, title) for title in titles][-1]
    chat = await (await meet(server)).open(f"/chats/{chat_id}")
    page = chat.page
    visited = await stops(page)
    assert visited.count("controls") == 6
    assert visited.count("chats") == 1
    assert len(visited) < 45
    row = chat.chats.get_by_role("link", name=titles[2], exact=True)
    await row.focus()
    for key, role, name in (
        ("ArrowDown", "link", titles[1]),
        ("ArrowRight", "button", f"Menu for {titles[1]}"),
        ("ArrowDown", "button", f"Menu for {titles[0]}"),
        ("ArrowLeft", "link", titles[0]),
        ("ArrowUp", "link", titles[1]),
    ):
        await page.keyboard.press(key)
        await expect(chat.chats.get_by_role(role, name=name, exact=True)).to_be_focused()  # type: ignore[arg-type]
    await page.keyboard.press("Tab")
    await page.keyboard.press("Shift+Tab")  # back to the same row
    await expect(chat.chats.get_by_role("link", name=titles[1], exact=True)).to_be_focused()
    actions = chat.answer.get_by_role("toolbar", name="Answer actions")
    await actions.get_by_role("button").first.focus()
    await page.keyboard.press("End")
    await expect(actions.get_by_role("button", name="Delete")).to_be_focused()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowRight")
    await expect(actions.get_by_role("button").nth(1)).to_be_focused()
