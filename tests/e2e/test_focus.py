"""Where the focus and a selection are once what had them has been replaced."""

from __future__ import annotations

from playwright.async_api import Locator, expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.person import Person
from tests.e2e.server import Server
from tests.long_chat import plant


def button(message: Locator, name: str) -> Locator:
    return message.get_by_role("button", name=name, exact=True)


async def test_the_focus_stays_after_what_is_done_with_messages(
    person: Person, server: Server
) -> None:
    chat = await person.open(f"/chats/{plant(server.folder / 'wick.db', 4, 'Focus')}")
    await button(chat.answer, "Regenerate").press("Enter")
    await expect(chat.answer.locator(".beside > span")).to_have_text("2/2")
    await expect(chat.message).to_be_focused()
    await chat.ends()
    await chat.answer_by("With another model")
    dialog = chat.page.get_by_role("dialog")
    await dialog.get_by_role("button", name=TINY).first.press("Enter")
    await expect(chat.answer.locator(".beside > span")).to_have_text("3/3")
    await expect(chat.message).to_be_focused()
    await chat.ends()
    await button(chat.answer, "Delete").press("Enter")
    await expect(chat.answer.locator(".beside > span")).to_have_text("2/2")
    await expect(chat.message).to_be_focused()
    await chat.notice.get_by_role("button", name="Undo").press("Enter")
    await expect(chat.answer.locator(".beside > span")).to_have_text("3/3")
    await expect(chat.message).to_be_focused()
    await button(chat.questions.last, "Edit").press("Enter")
    words = chat.page.get_by_role("textbox", name="Edit message")
    await words.press("Escape")
    await expect(button(chat.questions.last, "Edit")).to_be_focused()
    await button(chat.questions.last, "Edit").press("Enter")
    await words.fill("In other words")
    await button(chat.questions.last, "Save & submit").press("Enter")
    await expect(chat.questions.last.locator(".body")).to_have_text("In other words")
    await expect(chat.message).to_be_focused()
    await chat.ends()


async def test_the_focus_stays_in_the_lists(person: Person, server: Server) -> None:
    titles = [f"Focus in the list {n}" for n in range(3)]
    ids = [plant(server.folder / "wick.db", 2, title) for title in titles]
    chat = await person.open(f"/chats/{ids[0]}")
    menu = [button(chat.chats, f"Menu for {title}") for title in titles]
    for verb in ("Pin", "Archive"):
        await menu[1].press("Enter")
        await chat.page.locator("#chat-menu").get_by_text(verb, exact=True).press("Enter")
        await expect(chat.chats.locator(".pinned li")).to_have_count(1 if verb == "Pin" else 0)
        await expect(chat.chats.locator(":focus")).to_have_count(1)
    await chat.page.get_by_role("button", name="Chat settings").press("Enter")
    await expect(chat.page.get_by_role("dialog")).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await expect(chat.page.get_by_role("button", name="Chat settings")).to_be_focused()
    await chat.page.goto(f"{server.origin}/archive")
    await chat.page.get_by_role("button", name="Unarchive").first.press("Enter")
    await chat.holds("() => !document.activeElement.matches('body')")


async def test_stop_leaves_the_focus_and_a_selection_stays_while_its_text_grows(
    endless: Server, meet: Meet
) -> None:
    chat = await (await meet(endless)).open()
    await chat.ask("Go on for ever")
    await chat.writes()
    selected = await chat.page.evaluate(SELECT)
    for _ in range(3):
        await chat.page.evaluate("window.old = document.querySelector('.open')")
        await chat.holds("() => !window.old.isConnected")
        assert await chat.page.evaluate("getSelection().toString()") == selected
    await chat.stop.press("Enter")
    await chat.ends("stopped")
    await expect(chat.message).to_be_focused()
    await chat.ask("Go on again")
    await chat.writes()  # what still waits would come back to the field, with the focus
    await chat.message.fill("Then")  # else there would be nothing to send, and Send be off
    await chat.send.focus()
    await chat.silence()
    await expect(chat.send).to_be_focused()
    await chat.page.locator("#log").click(position={"x": 2, "y": 2})
    await chat.ask("And again")
    await chat.writes()
    await chat.message.blur()
    await chat.silence()
    await expect(chat.page.locator("body")).to_be_focused()  # whoever leaves is let go


async def test_who_has_gone_on_while_a_message_was_sent_keeps_the_focus(person: Person) -> None:
    chat = await person.open()
    await chat.message.fill("Hello")
    await chat.page.evaluate(SEND_AND_GO_ON)
    await expect(chat.message).to_have_value("")  # the server has taken it
    await chat.ends()
    await expect(chat.page.get_by_role("link", name="New chat").first).to_be_focused()


SEND_AND_GO_ON = """() => {
  document.getElementById("composer").requestSubmit();
  document.querySelector("[data-key=n]").focus();
}"""
SELECT = """() => {
  const walk = document.createTreeWalker(document.querySelector(".open"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode() && walk.currentNode.length < 2);
  getSelection().setBaseAndExtent(walk.currentNode, 0, walk.currentNode, 2);
  return getSelection().toString();
}"""
