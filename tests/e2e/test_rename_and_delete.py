"""Rename, delete and its way back; every open tab follows."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import TINY
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server


@pytest.fixture
async def other(person: Person, chat: ChatPage) -> ChatPage:
    """Another tab, with a new chat."""
    return await person.open("/")


async def test_a_chat_is_renamed(
    chat: ChatPage, other: ChatPage, server: Server, request: pytest.FixtureRequest
) -> None:
    await chat.use("Rename", request.node.name)
    name = chat.chats.get_by_role("textbox", name="Chat name")
    await expect(name).to_be_focused()
    await expect(name).to_have_value(request.node.name)
    await name.fill("<b>Foxes</b> & geese")
    await name.press("Enter")
    await expect(name).to_have_count(0)
    menu = chat.chats.get_by_role("button", name="Menu for <b>Foxes</b> & geese", exact=True)
    await expect(menu).to_be_focused()
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("<b>Foxes</b> & geese")
    await expect(chat.page).to_have_title("<b>Foxes</b> & geese · Wick")
    for tab in (chat, other):
        await expect(tab.chats.get_by_role("link", name="<b>Foxes</b> & geese")).to_be_visible()
    await expect(chat.chats.locator("a[aria-current=page]")).to_have_text("<b>Foxes</b> & geese")
    stored = server.rows("SELECT title FROM chats WHERE id = ?", chat.chat_id)
    assert stored[0]["title"] == "<b>Foxes</b> & geese"


async def test_renaming_a_chat_can_be_cancelled(
    chat: ChatPage, request: pytest.FixtureRequest
) -> None:
    for leave in ("Escape", "Cancel", "elsewhere"):
        await chat.use("Rename", request.node.name)
        name = chat.chats.get_by_role("textbox")
        await name.fill("Something else")
        if leave == "Escape":
            await name.press("Escape")
        elif leave == "Cancel":
            await chat.chats.get_by_role("button", name="Cancel").click()
        else:
            await chat.message.focus()
        await expect(name).to_have_count(0)
    await expect(chat.chats.locator("a[aria-current=page]")).to_have_text(request.node.name)


async def test_a_name_of_spaces_is_refused_with_a_sentence(
    chat: ChatPage, person: Person, request: pytest.FixtureRequest
) -> None:
    person.expects("status of 4")
    await chat.use("Rename", request.node.name)
    name = chat.chats.get_by_role("textbox")
    await name.fill("   ")
    await name.press("Enter")
    await expect(chat.notice).to_contain_text("A chat needs a name.")
    await expect(name).to_be_focused()
    await name.press("Escape")
    await expect(chat.chats.locator("a[aria-current=page]")).to_have_text(request.node.name)


async def test_delete_and_undo_in_every_tab(
    chat: ChatPage, other: ChatPage, request: pytest.FixtureRequest
) -> None:
    title = request.node.name
    await other.use("Delete", title)
    await expect(other.notice).to_contain_text("is in the trash.")
    for tab in (chat, other):
        await expect(tab.chats.get_by_role("link", name=title, exact=True)).to_have_count(0)
    await other.notice.get_by_role("button", name="Undo").click()
    for tab in (chat, other):
        await expect(tab.chats.get_by_role("link", name=title, exact=True)).to_be_visible()
    await expect(other.notice).to_be_empty()
    await expect(chat.send).to_be_visible()


async def test_a_chat_in_the_trash_says_so_and_comes_back(
    chat: ChatPage, request: pytest.FixtureRequest
) -> None:
    await chat.use("Delete", request.node.name)
    banner = chat.page.get_by_text("This chat is in the trash.")
    await expect(banner).to_be_visible()
    await expect(chat.message).to_be_hidden()
    await chat.reload()
    await expect(banner).to_be_visible()
    await chat.page.get_by_role("button", name="Restore").click()
    await expect(banner).to_have_count(0)
    await expect(chat.chats.locator("a[aria-current=page]")).to_have_text(request.node.name)
    await chat.ask("Still there?")
    await chat.ends()


async def test_new_chat_begins_another(chat: ChatPage) -> None:
    before = chat.chat_id
    await chat.page.get_by_role("link", name="New chat", exact=True).click()
    await expect(chat.questions).to_have_count(0)
    await chat.awakes()
    await chat.ask("Something else", TINY)
    await chat.ends()
    assert chat.chat_id != before
