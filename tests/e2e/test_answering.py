"""What the product is: a person writes, and reads the answer while it comes."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import Route, expect

from app.web.render.markdown import render_markdown
from tests.e2e.answer_checks import only_pieces_of
from tests.e2e.conftest import SMOLLM2, TINY, Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server

STORY = "Write a very long story about a fox. At least three thousand words."
AS_THE_BROWSER_WRITES_IT = """html => {
  const room = document.createElement("template");
  room.innerHTML = html;
  return room.innerHTML;
}"""


async def test_an_answer_is_seen_growing_and_the_chat_goes_on_with_its_context(
    server: Server, meet: Meet
) -> None:
    chat = await (await meet(server)).open("/")
    await chat.lengthen(100)
    await chat.ask("Tell me a story about a fox.", SMOLLM2)
    await chat.ends()
    first = server.messages(chat.chat_id)[0]
    lengths = {len(text) for text in await chat.texts_seen(first["id"])}
    assert len(lengths - {0}) >= 10
    await expect(chat.page).to_have_title("Tell me a story about a fox. · Wick")
    entry = chat.chats.get_by_role("link", name="Tell me a story about a fox.")
    await expect(entry).to_have_attribute("aria-current", "page")
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text(
        "Tell me a story about a fox."
    )

    await chat.ask("What was it called?")
    await chat.ends()
    second = server.messages(chat.chat_id)[1]
    assert second["cached_tokens"] >= first["prompt_tokens"] + first["completion_tokens"] - 2
    assert second["model"] == SMOLLM2


async def test_a_chat_is_in_the_sidebar_after_a_restart_and_goes_on(
    server: Server, meet: Meet
) -> None:
    today = await (await meet(server)).open("/")
    await today.ask("The password is marzipan.", TINY)
    await today.ends()
    tomorrow = await (await meet(server)).open("/")
    await tomorrow.chats.get_by_role("link", name="The password is marzipan.").click()
    await expect(tomorrow.answers).to_have_count(1)
    await tomorrow.assert_same_as(today)
    await expect(tomorrow.model).to_have_value(TINY)
    await tomorrow.ask("And now?")
    await tomorrow.ends()
    assert server.messages(today.chat_id)[1]["cached_tokens"] > 0


async def test_two_browsers_at_once_see_nothing_of_each_other(server: Server, meet: Meet) -> None:
    one = await (await meet(server)).open("/")
    other = await (await meet(server)).open("/")
    await asyncio.gather(
        one.ask("Tell me about marzipan and gondolas.", SMOLLM2),
        other.ask("Tell me about zeppelins and quicksand.", SMOLLM2),
    )
    assert one.chat_id != other.chat_id
    await asyncio.gather(one.ends(), other.ends())
    for mine, theirs in ((one, other), (other, one)):
        shown = await mine.log.inner_html()
        answer = server.messages(theirs.chat_id)[0]
        assert server.messages(theirs.chat_id, "user")[0]["text"] not in shown
        assert str(answer["id"]) not in re.findall(r'data-message-id="(\d+)"', shown)
        for text in await mine.texts_seen(answer["id"]):
            assert not text
        own = server.messages(mine.chat_id)[0]
        seen = await mine.texts_seen(own["id"])
        assert only_pieces_of(own["text"], seen)


async def test_two_tabs_of_one_chat_show_the_same(server: Server, meet: Meet) -> None:
    person = await meet(server)
    one = await person.open("/")
    await one.ask("Hello", TINY)
    other = await person.open(f"/chats/{one.chat_id}")
    await one.ends()
    await other.ends()
    await other.ask("Hello from the other tab")
    await expect(one.answers).to_have_count(2)
    await one.ends()
    await other.ends()
    await one.assert_same_as(other)


async def test_a_reload_amid_an_answer_changes_nothing_of_it(server: Server, meet: Meet) -> None:
    person = await meet(server)
    patient = await person.open("/")
    await patient.lengthen()
    await patient.ask(STORY, SMOLLM2)
    await patient.writes()
    hasty = await person.open(f"/chats/{patient.chat_id}")
    await hasty.writes()
    answer_id = server.messages(patient.chat_id)[0]["id"]
    seen: list[str] = []
    for _ in range(3):
        before = await hasty.answer.locator(".text").text_content() or ""
        await hasty.holds(
            "length => document.querySelector('.text').textContent.length > length", len(before)
        )
        seen += await hasty.texts_seen(answer_id)
        await hasty.reload()
        await hasty.writes()
    await hasty.stop.click()
    await asyncio.gather(patient.ends("stopped"), hasty.ends("stopped"))
    await assert_equals_what_is_stored(server, patient, seen)
    await assert_equals_what_is_stored(server, hasty, seen)
    await hasty.assert_same_as(patient)


async def test_events_during_an_answer_cost_it_no_character(server: Server, meet: Meet) -> None:
    person = await meet(server)
    chat = await person.open("/")
    await chat.lengthen()
    await chat.ask(STORY, SMOLLM2)
    await chat.writes()
    answer_id = server.messages(chat.chat_id)[0]["id"]
    other = await person.open("/")
    for number in range(4):
        seen = len((await chat.texts_seen(answer_id))[-1])
        await chat.holds(
            "length => document.querySelector('.text').textContent.length > length", seen
        )
        if number % 2:
            await chat.ask(f"And then? ({number})")
        else:
            await other.chats.locator("li").first.hover()
            await other.chats.get_by_role("button", name="Menu").first.click()
            await other.page.locator("#chat-menu").get_by_text("Rename").click()
            await other.chats.get_by_label("Chat name").fill(f"Story {number}")
            await other.page.keyboard.press("Enter")
            await expect(chat.page.get_by_role("heading", level=1)).to_have_text(f"Story {number}")
    await chat.silence()
    await expect(chat.answers.first).to_have_attribute("data-status", "stopped")
    stored = server.messages(chat.chat_id)[0]["text"]
    seen_texts = await chat.texts_seen(answer_id)
    assert len(seen_texts) > 4
    assert only_pieces_of(stored, seen_texts)


async def assert_equals_what_is_stored(server: Server, chat: ChatPage, earlier: list[str]) -> None:
    answer = server.messages(chat.chat_id)[0]
    assert only_pieces_of(answer["text"], [*earlier, *await chat.texts_seen(answer["id"])])
    rendered = await chat.page.evaluate(AS_THE_BROWSER_WRITES_IT, render_markdown(answer["text"]))
    assert await chat.answer.locator(".body").inner_html() == rendered


async def test_a_page_whose_scripts_come_slowly_connects_all_the_same(
    server: Server, meet: Meet
) -> None:
    """htmx must not start before its extension is there."""
    person = await meet(server)
    page = await person.window()
    others_done = asyncio.Event()

    async def hold(route: Route) -> None:
        await others_done.wait()
        await route.continue_()

    await page.route("**/hx-ws*", hold)
    await page.goto(server.origin, wait_until="commit")
    chat = ChatPage(page)
    await chat.holds("() => window.htmx !== undefined")
    await page.evaluate("new Promise(done => setTimeout(() => setTimeout(done)))")
    others_done.set()
    await page.wait_for_load_state()
    await chat.awakes()
    await chat.ask("Hello", TINY)
    await chat.ends()
    assert await chat.body()
