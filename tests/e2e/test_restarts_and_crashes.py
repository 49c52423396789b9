"""What dies, at the worst moment, and what must still be there afterwards."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.answer_checks import first_word, only_pieces_of
from tests.e2e.conftest import Meet, StartServer
from tests.e2e.person import CONNECTION_LOST, ChatPage
from tests.e2e.server import Server, gone


@pytest.fixture
async def own(start: StartServer, tiny_store: Path) -> Server:
    return await start(tiny_store, max_tokens=30000, context=32768)


@pytest.fixture
async def chat(own: Server, meet: Meet) -> ChatPage:
    """Amid an answer of which something is on the disk already."""
    person = await meet(own)
    person.expects(CONNECTION_LOST)
    chat = await person.open()
    await chat.ask("Go on for ever")
    await chat.writes()
    await own.checkpointed()
    return chat


async def goes_on(chat: ChatPage) -> None:
    """A new message on the same page, without a reload, is answered."""
    await chat.ask("Are you there again?")
    await chat.writes()
    await chat.stop.click()
    await chat.ends("stopped")


def answer(own: Server, chat: ChatPage) -> Any:
    return own.messages(chat.chat_id)[0]


async def test_a_restart_under_an_open_page_interrupts_and_repairs(
    own: Server, chat: ChatPage
) -> None:
    (runner,) = own.runners()
    assert await own.stop() == 0
    await gone(runner)
    stored = answer(own, chat)
    assert stored["status"] == "interrupted"
    assert stored["text"]
    await chat.ends("interrupted")
    await expect(chat.answer.locator(".line")).to_contain_text("Interrupted: Wick was stopped.")
    offline = chat.page.get_by_text("Connection lost.")
    await expect(offline).to_be_visible()
    assert only_pieces_of(stored["text"], await chat.texts_seen(stored["id"]))

    await own.start()
    await expect(offline).to_be_hidden()
    await chat.ends("interrupted")
    await goes_on(chat)


async def test_a_message_sent_while_the_server_is_away_arrives_once(
    own: Server, chat: ChatPage
) -> None:
    assert await own.stop() == 0
    await chat.ends("interrupted")
    await expect(chat.page.get_by_text("Connection lost.")).to_be_visible()
    await chat.message.fill("Sent into the void")
    await chat.message.press("Enter")
    await own.start()
    await expect(chat.questions).to_have_count(2)
    await chat.writes()
    await expect(chat.message).to_have_value("")
    await chat.stop.click()
    await chat.ends("stopped")
    texts = [row["text"] for row in own.messages(chat.chat_id, "user")]
    assert texts == ["Go on for ever", "Sent into the void"]


async def test_kill_9_of_the_server_loses_no_prompt_and_keeps_the_text(
    own: Server, chat: ChatPage
) -> None:
    (runner,) = own.runners()
    await own.kill()
    await gone(runner)
    await own.start()
    assert own.rows("PRAGMA integrity_check")[0][0] == "ok"
    assert [row["text"] for row in own.messages(chat.chat_id, "user")] == ["Go on for ever"]
    stored = answer(own, chat)
    assert stored["status"] == "interrupted"
    assert stored["text"]
    await chat.ends("interrupted")
    assert first_word(stored["text"]) in await chat.body()
    text = stored["text"].lstrip()  # as Markdown shows it
    for seen in await chat.texts_seen(stored["id"]):  # what reached the page may be less or more
        assert seen.startswith(text[:50]) or text.startswith(seen[:50])
    await goes_on(chat)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_queued_prompt_is_answered_after_the_next_start(
    start: StartServer, tiny_store: Path, meet: Meet, end: str
) -> None:
    own = await start(tiny_store, slots=1, max_tokens=30000, context=32768)
    person = await meet(own)
    person.expects(CONNECTION_LOST)
    writing, next_in_line = await person.open(), await person.open()
    await writing.ask("Go on for ever")
    await writing.writes()
    await own.checkpointed()
    await next_in_line.ask("And I?")
    await expect(next_in_line.answer.locator(".line")).to_contain_text("Waiting")
    await writing.message.fill("After that")
    await writing.message.press("Enter")
    await expect(writing.questions).to_have_count(2)
    await (own.stop() if end == "stop" else own.kill())
    await own.start()
    await next_in_line.writes()
    assert [row["status"] for row in own.messages(writing.chat_id)] == ["interrupted", "queued"]
    await expect(writing.answer.locator(".line")).to_contain_text("Waiting")
    await next_in_line.stop.click()
    await next_in_line.ends("stopped")
    await writing.writes()
    await writing.stop.click()
    await writing.ends("stopped")


async def test_kill_9_of_the_runner_ends_the_answer_and_nothing_else(
    own: Server, chat: ChatPage
) -> None:
    (runner,) = own.runners()
    os.kill(runner, signal.SIGKILL)
    await chat.ends("interrupted")
    await expect(chat.answer.locator(".line")).to_contain_text("SIGKILL")
    stored = answer(own, chat)
    assert stored["status"] == "interrupted"
    assert first_word(stored["text"]) in await chat.body()
    assert only_pieces_of(stored["text"], await chat.texts_seen(stored["id"]))
    await goes_on(chat)
    assert own.runners() != [runner]
