"""What a person does with answers and branches, in a real browser."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import Locator, expect

from tests.e2e.conftest import SHORT, SMOLLM2, TINY, Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.patience import PATIENCE

NEW = re.compile(".+")


def button(message: Locator, name: str) -> Locator:
    return message.get_by_role("button", name=name, exact=True)


async def number_of(message: Locator, text: str) -> None:
    """Waits until this stands between the arrows of a message."""
    await expect(message.locator(".beside > span")).to_have_text(text)


async def bodies(chat: ChatPage) -> list[str]:
    return await chat.log.locator("article .body").all_inner_texts()


async def reads(chat: ChatPage, expected: list[str]) -> None:
    """Wait until the messages of a page have these texts."""
    async with asyncio.timeout(PATIENCE):
        while await bodies(chat) != expected:
            await chat.page.evaluate("new Promise(requestAnimationFrame)")


async def agree(one: ChatPage, other: ChatPage) -> None:
    """Both tabs, and a reload of the second, come to the same."""

    await one.assert_same_as(other)
    await other.reload()
    await one.assert_same_as(other)


async def test_an_answer_is_regenerated_and_both_can_be_reached(server: Server, meet: Meet) -> None:
    person = await meet(server)
    chat = await person.open()
    await chat.ask("Say a word.", SMOLLM2)
    await chat.ends()
    first = await bodies(chat)
    first_id = await chat.answer.get_attribute("data-message-id") or ""
    other = await person.open(f"/chats/{chat.chat_id}")
    await chat.choose(temperature=1.5, seed=2)  # so that it answers in other words
    await button(chat.answer, "Regenerate").dblclick()
    await expect(chat.answer).not_to_have_attribute("data-message-id", first_id)
    await chat.ends()
    await number_of(chat.answer, "2/2")  # asked twice, answered once
    await number_of(other.answer, "2/2")
    second = await bodies(chat)
    assert second != first
    await button(chat.answer, "Previous version").click()
    await number_of(other.answer, "1/2")
    await reads(other, first)
    await expect(button(chat.answer, "Previous version")).to_have_attribute("aria-disabled", "true")
    await agree(chat, other)
    await button(other.answer, "Next version").press("Enter")
    await number_of(chat.answer, "2/2")
    await reads(chat, second)
    rows = server.messages(chat.chat_id)
    assert rows[1]["cached_tokens"] == rows[0]["prompt_tokens"] - 1


async def test_an_answer_is_regenerated_with_another_model(server: Server, meet: Meet) -> None:
    person = await meet(server)
    chat = await person.open()
    await chat.ask("Hello!", SMOLLM2)
    await chat.ends()
    await chat.page.set_viewport_size({"width": 640, "height": 400})  # as at 200 % zoom
    await chat.answer.get_by_role("button", name="Other ways to answer").click()
    menu = chat.page.get_by_role("menu", name="Other ways to answer")
    await expect(menu.get_by_role("menuitem", name="Longer")).to_be_in_viewport(ratio=1)
    await expect(menu).to_be_in_viewport(ratio=1)
    await chat.page.keyboard.press("Escape")
    await chat.answer_by("With another model")
    dialog = chat.page.get_by_role("dialog")
    await dialog.get_by_role("button", name=re.compile("^(?!Cancel|.*same model).*$")).first.click()
    await number_of(chat.answer, "2/2")
    await chat.ends()
    await expect(dialog).to_be_hidden()
    assert [row["model"] for row in server.messages(chat.chat_id)] == [SMOLLM2, TINY]
    await expect(chat.model).to_have_value(SMOLLM2)


async def test_an_edited_prompt_makes_a_branch(server: Server, meet: Meet) -> None:
    person = await meet(server)
    chat = await person.open()
    await chat.ask("What is one and one?", TINY)
    await chat.ends()
    old = await bodies(chat)
    other = await person.open(f"/chats/{chat.chat_id}")
    await button(chat.questions.last, "Edit").click()
    words = chat.page.get_by_role("textbox", name="Edit message")
    await expect(words).to_be_focused()
    await expect(words).to_have_value("What is one and one?")
    await words.press("Escape")
    await expect(words).to_have_count(0)
    await expect(button(chat.questions.last, "Edit")).to_be_focused()
    await button(chat.questions.last, "Edit").press("Enter")
    await words.fill("What is two and two?")
    await words.press("Enter")
    await number_of(chat.questions.last, "2/2")
    await chat.ends()
    await expect(words).to_have_count(0)
    await expect(chat.questions.first.locator(".body")).to_have_text("What is two and two?")
    await number_of(other.questions.last, "2/2")
    await button(other.questions.last, "Previous version").click()
    await number_of(chat.questions.last, "1/2")
    await reads(chat, old)
    await agree(chat, other)


async def test_an_unsaved_edit_survives_changes_of_the_chat(endless: Server, meet: Meet) -> None:
    person = await meet(endless)
    chat = await person.open()
    await chat.ask("one")
    await chat.writes()
    await chat.stop.click()
    await chat.ends("stopped")
    other = await person.open(f"/chats/{chat.chat_id}")
    await button(chat.questions.first, "Edit").click()
    words = chat.page.get_by_role("textbox", name="Edit message")
    await words.fill("half a thou")
    await button(other.answer, "Regenerate").click()  # the other tab shows another path
    await number_of(chat.answer, "2/2")
    await expect(words).to_have_value("half a thou")
    await words.fill("a whole thought")
    await chat.page.get_by_role("button", name="Save & submit").click()  # stops what runs
    await number_of(chat.questions.first, "2/2")
    await chat.writes()
    await chat.stop.click()
    await chat.ends("stopped")
    assert [row["status"] for row in endless.messages(chat.chat_id)] == ["stopped"] * 3


async def test_a_stopped_answer_is_continued(endless: Server, meet: Meet) -> None:
    person = await meet(endless)
    chat = await person.open()
    await chat.ask("Tell me a story.")
    await chat.writes()
    await chat.stop.click()
    await chat.ends("stopped")
    [before] = endless.messages(chat.chat_id)
    other = await person.open(f"/chats/{chat.chat_id}")
    await button(chat.answer, "Continue").click()
    await expect(other.answer).to_have_attribute("data-status", "streaming")
    begun = len(before["text"])
    await chat.holds(
        "size => document.querySelector('article[data-role=assistant] .body')"
        ".textContent.length > size + 20",
        begun,
    )
    await other.stop.click()
    await chat.ends("stopped")
    [after] = endless.messages(chat.chat_id)
    assert after["id"] == before["id"]
    assert after["text"].startswith(before["text"].rstrip("\ufffd"))
    assert len(after["text"]) > begun
    # What had been read was not read again, and the figures are those of both runs.
    read = before["prompt_tokens"] - before["cached_tokens"]
    assert after["prompt_tokens"] - after["cached_tokens"] <= read + 2
    assert after["completion_tokens"] > before["completion_tokens"]
    assert after["decode_seconds"] > before["decode_seconds"]
    await agree(chat, other)


async def test_a_message_is_deleted_and_restored(server: Server, meet: Meet) -> None:
    person = await meet(server)
    chat = await person.open()
    await chat.ask("one", TINY)
    await chat.ends()
    await chat.ask("two", TINY)
    await chat.ends()
    before = await bodies(chat)
    other = await person.open(f"/chats/{chat.chat_id}")
    await button(chat.questions.last, "Delete").click()
    await expect(other.questions).to_have_count(1)
    await expect(chat.questions).to_have_count(1)
    await chat.notice.get_by_role("button", name="Undo").click()
    await expect(other.questions).to_have_count(2)
    await expect(chat.questions).to_have_count(2)
    await reads(chat, before)
    await button(chat.answer, "Delete").click()
    await expect(chat.answers).to_have_count(1)
    await button(chat.questions.last, "Get an answer").click()
    await expect(chat.answers).to_have_count(2)
    await chat.ends()
    await agree(chat, other)


async def test_deleting_above_a_running_answer_is_refused_with_a_sentence(
    endless: Server, meet: Meet
) -> None:
    person = await meet(endless)
    person.expects("409")
    chat = await person.open()
    await chat.ask("one")
    await chat.writes()
    await button(chat.questions.last, "Delete").click()
    await expect(chat.notice).to_contain_text("An answer is being written here.")
    await chat.stop.click()
    await chat.ends("stopped")


async def test_stop_in_the_queue_and_while_the_prompt_is_read(endless: Server, meet: Meet) -> None:
    person = await meet(endless)
    chat = await person.open()
    await chat.ask("word " * 6000)  # some seconds of reading
    await expect(chat.answer).to_have_attribute("data-status", "prefill")
    waiting = await person.open()
    await waiting.ask("me too")
    await expect(waiting.answer.locator(".line")).to_have_text(re.compile("^Waiting"))
    second_tab = await person.open(f"/chats/{waiting.chat_id}")
    await second_tab.stop.click()
    await waiting.ends("stopped")
    same = await person.open(f"/chats/{chat.chat_id}")
    await expect(same.answer).to_have_attribute("data-status", "prefill")
    await same.stop.click()
    await chat.ends("stopped")
    assert endless.messages(chat.chat_id)[0]["text"] == ""


async def test_settings_of_one_chat_take_effect(server: Server, meet: Meet) -> None:
    person = await meet(server)
    person.expects("422")
    chat = await person.open()
    await chat.open_settings()
    dialog = chat.page.get_by_role("dialog")
    prompt = dialog.get_by_role("textbox", name="System prompt")
    await expect(prompt).to_be_focused()
    await prompt.fill("You are a pirate.")
    await dialog.get_by_role("textbox", name="Temperature").fill("hot")
    await dialog.get_by_role("textbox", name="Maximum length").fill("7")
    await dialog.get_by_role("button", name="Save").click()
    wrong = dialog.get_by_role("textbox", name="Temperature")
    await expect(wrong).to_have_attribute("aria-invalid", "true")
    await expect(dialog.locator("#temperature-bad")).to_have_text(re.compile("from 0 to 5"))
    await expect(prompt).to_have_value("You are a pirate.")  # nothing is lost
    await wrong.fill("0")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_be_hidden()
    await expect(chat.notice).to_contain_text("Saved")
    changed = chat.page.get_by_role("button", name="Chat settings, changed")
    await expect(changed).to_be_visible()
    await chat.ask("Hello!", SMOLLM2)
    await chat.ends()
    [row] = server.messages(chat.chat_id)
    assert row["completion_tokens"] <= 7
    assert '"temperature": 0.0' in row["settings"]
    await expect(button(chat.answer, "Continue")).to_be_visible()
    await chat.answer.locator(".figures summary").click()
    await expect(chat.answer.locator(".figures dl")).to_contain_text("You are a pirate.")
    await chat.reload()
    await expect(changed).to_be_visible()
    await chat.open_settings()
    await expect(dialog.get_by_role("textbox", name="Top-p")).to_be_hidden()
    await expect(dialog.get_by_role("textbox", name="Maximum length")).to_have_value("7")
    await dialog.get_by_role("button", name="Reset").click()
    await expect(dialog).to_be_hidden()
    await expect(changed).to_have_count(0)
    await chat.open_settings()
    await expect(prompt).to_have_value("")
    await expect(dialog.get_by_role("textbox", name="Maximum length")).to_have_attribute(
        "placeholder", f"default {SHORT}"
    )


async def test_context_usage_grows_and_says_which_messages_are_left_out(
    server: Server, meet: Meet
) -> None:
    person = await meet(server)
    chat = await person.open()
    await chat.open_settings()
    dialog = chat.page.get_by_role("dialog")
    await dialog.get_by_text("Advanced").click()
    await dialog.get_by_role("textbox", name="Context size").fill("128")
    await dialog.get_by_role("textbox", name="Maximum length").fill("20")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_be_hidden()
    gauge = chat.page.locator("#gauge")
    await expect(gauge).to_be_hidden()
    await chat.ask("This is the first question.", TINY)
    await chat.ends()
    await expect(gauge).to_have_text(re.compile(r"Context \d+ % full"))
    await gauge.locator("summary").click()
    await expect(gauge).to_contain_text("of 128 tokens")
    await expect(gauge).to_contain_text("the newest always stays")
    other = await person.open(f"/chats/{chat.chat_id}")
    await chat.ask("This is the second question.")
    await chat.ends()
    await expect(gauge.locator("blockquote")).to_have_text("This is the first question.")
    for number in range(4):
        await chat.ask(f"One more: {number}")
        await chat.ends()
    await expect(gauge).to_contain_text("The model no longer sees")
    await expect(other.page.locator("#gauge-line")).to_have_text(
        await chat.page.locator("#gauge-line").inner_text()
    )
    await expect(chat.log.locator(".divider")).to_have_count(1)
