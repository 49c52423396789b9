"""Stop, and waiting for one's turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.e2e.answer_checks import first_word, only_pieces_of
from tests.e2e.conftest import Meet
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server


@pytest.fixture
async def person(endless: Server, meet: Meet) -> Person:
    return await meet(endless)


@pytest.fixture
async def busy(person: Person) -> AsyncIterator[ChatPage]:
    """A chat whose answer holds the only place there is."""
    chat = await person.open()
    await chat.ask("Go on for ever")
    await chat.writes()
    yield chat
    if await chat.stop.count():
        await chat.stop.click()
        await chat.ends("stopped")


async def test_stop_keeps_what_was_written(endless: Server, busy: ChatPage) -> None:
    await busy.stop.click()
    await busy.ends("stopped")
    await expect(busy.stop).to_have_count(0)
    await expect(busy.answer.locator(".line")).to_have_text("Stopped")
    stored = endless.messages(busy.chat_id)[0]
    assert stored["status"] == "stopped"
    assert first_word(stored["text"]) in await busy.body()
    seen = await busy.texts_seen(stored["id"])
    assert only_pieces_of(stored["text"], seen)
    await busy.ask("Again")
    await busy.writes()
    await busy.stop.click()
    await busy.ends("stopped")


async def test_stop_in_another_tab_counts_for_both(busy: ChatPage, person: Person) -> None:
    other = await person.open(f"/chats/{busy.chat_id}")
    await other.stop.click()
    await busy.ends("stopped")
    await other.ends("stopped")
    await busy.assert_same_as(other)


async def test_closing_the_tab_does_not_stop_an_answer(
    endless: Server, busy: ChatPage, person: Person
) -> None:
    again = await person.open()
    entry = again.chats.locator(f"a[href='/chats/{busy.chat_id}']")
    await busy.page.goto("about:blank")
    await expect(entry.get_by_role("img", name="answering")).to_be_visible()
    await entry.click()
    await again.writes()
    await again.stop.click()
    await again.ends("stopped")


async def test_queue_positions_are_shown_and_stop_works_while_waiting(
    endless: Server, busy: ChatPage, person: Person
) -> None:
    second = await person.open()
    await second.ask("Me too")
    third = await person.open()
    await third.ask("And me")
    await expect(second.answer.locator(".line")).to_contain_text("Waiting: next in line")
    await expect(third.answer.locator(".line")).to_contain_text("Waiting: number 2 in line")
    await second.stop.click()
    await second.ends("stopped")
    assert endless.messages(second.chat_id)[0]["text"] == ""
    await expect(third.answer.locator(".line")).to_contain_text("Waiting: next in line")
    await busy.stop.click()
    await third.writes()
    await third.stop.click()
    await third.ends("stopped")
