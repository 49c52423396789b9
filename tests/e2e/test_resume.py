"""One chat on several screens, some of which sleep: each shows the same, to the character."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import expect

from tests.e2e.answer_checks import only_pieces_of
from tests.e2e.conftest import SMOLLM2, Meet, StartServer
from tests.e2e.person import CONNECTION_LOST, ChatPage
from tests.e2e.relay import relay_to
from tests.e2e.server import Server

STORY = "Write a very long story about a fox and a hen. At least three thousand words."
PHONE = {"width": 390, "height": 844}


async def grows(chat: ChatPage, by: int) -> None:
    """Returns when so many more characters of the running answer are on the page."""
    before = len(await chat.answer.locator(".text").text_content() or "")
    await chat.holds(
        "length => !document.querySelector('.text') ||"
        " document.querySelector('.text').textContent.length >= length",
        before + by,
    )


async def test_a_phone_that_slept_shows_what_the_laptop_shows(server: Server, meet: Meet) -> None:
    laptop = await (await meet(server)).open("/")
    await laptop.lengthen(300)
    await laptop.ask(STORY, SMOLLM2)
    await laptop.writes()
    async with relay_to(server) as relay:
        owner = await meet(server, viewport=PHONE)
        owner.server = relay  # type: ignore[assignment]
        owner.expects(CONNECTION_LOST)
        phone = await owner.open(f"/chats/{laptop.chat_id}")
        await phone.writes()
        relay.cut()
        offline = phone.page.get_by_text("Connection lost.")
        await expect(offline).to_be_visible()
        await grows(laptop, 80)
        relay.mend()
        await expect(offline).to_be_hidden()
        await asyncio.gather(laptop.ends(), phone.ends())
        stored = server.messages(laptop.chat_id)[0]
        for chat in (laptop, phone):
            assert only_pieces_of(stored["text"], await chat.texts_seen(stored["id"]))
        await phone.assert_same_as(laptop)
        await phone.reload()
        await phone.assert_same_as(laptop)


async def test_after_kill_9_every_screen_shows_what_is_stored(
    start: StartServer, tiny_store: Path, meet: Meet
) -> None:
    own = await start(tiny_store, max_tokens=30000, context=32768)
    screens: list[ChatPage] = []
    for _ in range(2):
        person = await meet(own)
        person.expects(CONNECTION_LOST)
        chat = await person.open(f"/chats/{screens[0].chat_id}" if screens else "/")
        screens.append(chat)
        if len(screens) == 1:
            await chat.ask("Go on for ever")
        await chat.writes()
    await own.checkpointed()
    await own.kill()
    await own.start()
    for chat in screens:
        await chat.ends("interrupted")
        await expect(chat.page.get_by_text("Connection lost.")).to_be_hidden()
    await screens[0].assert_same_as(screens[1])
    await screens[0].reload()
    await screens[0].assert_same_as(screens[1])
