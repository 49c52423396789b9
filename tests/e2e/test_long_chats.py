"""A chat of many messages: the page holds its end, and the rest comes when it is looked for."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from app.web.render.messages import CONTEXT_ROWS, PAGE_SIZE
from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import CONNECTION_LOST, ChatPage, Person
from tests.e2e.server import Server
from tests.long_chat import plant

UP = "document.getElementById('scroll').scrollTop = 0"
# Where the topmost message in sight stands, and which one that is.
TOPMOST = """() => {
  const edge = document.getElementById('scroll').getBoundingClientRect().top;
  const one = [...document.querySelectorAll('.message')].find(
    message => message.getBoundingClientRect().bottom > edge);
  return [one.id, one.getBoundingClientRect().top];
}"""


async def stands(chat: ChatPage, before: tuple[str, float]) -> None:
    """What is read is where it was, to the pixel that browsers round to."""
    message, top = await chat.page.evaluate(TOPMOST)
    assert message == before[0]
    assert abs(top - before[1]) <= 1


async def held(chat: ChatPage) -> list[int]:
    """The ids of the messages on the page, as they stand there."""
    ids: list[int] = await chat.log.locator("article").evaluate_all(
        "all => all.map(one => Number(one.dataset.messageId))"
    )
    return ids


@pytest.fixture
def planted(server: Server, request: pytest.FixtureRequest) -> tuple[str, list[int]]:
    """A chat of 500 messages, and their ids."""
    chat_id = plant(server.folder / "wick.db", 500, request.node.name)
    rows = server.rows("SELECT id FROM messages WHERE chat_id = ? ORDER BY id", chat_id)
    return chat_id, [row["id"] for row in rows]


async def test_a_long_chat_shows_its_end_and_loads_the_rest_in_order(
    person: Person, planted: tuple[str, list[int]]
) -> None:
    chat_id, ids = planted
    chat = await person.open(f"/chats/{chat_id}")
    assert await held(chat) == ids[-PAGE_SIZE:]
    count = PAGE_SIZE
    while count < len(ids):
        await chat.page.evaluate(UP)
        await chat.holds("count => document.querySelectorAll('#log article').length > count", count)
        shown = await held(chat)
        assert shown == ids[-len(shown) :]
        count = len(shown)
    await expect(chat.page.get_by_role("button", name="Earlier messages")).to_have_count(0)


async def test_earlier_messages_that_load_above_move_nothing(
    person: Person, planted: tuple[str, list[int]]
) -> None:
    chat = await person.open(f"/chats/{planted[0]}")
    await chat.page.evaluate("document.getElementById('scroll').scrollTop = 300")
    before = await chat.page.evaluate(TOPMOST)
    await expect(chat.log.locator("article")).to_have_count(2 * PAGE_SIZE)
    await stands(chat, before)
    await expect(chat.page.get_by_role("button", name="Go to end")).to_be_visible()


async def test_an_answer_comes_below_loaded_earlier_messages(
    person: Person, planted: tuple[str, list[int]]
) -> None:
    chat_id, ids = planted
    chat = await person.open(f"/chats/{chat_id}")
    await chat.page.evaluate(UP)
    await expect(chat.log.locator("article")).to_have_count(2 * PAGE_SIZE)
    await chat.ask("What comes next?", TINY)
    await chat.ends()
    shown = await held(chat)
    assert shown[: 2 * PAGE_SIZE] == ids[-2 * PAGE_SIZE :]
    assert len(shown) == 2 * PAGE_SIZE + 2


async def test_a_searched_message_is_on_the_page_of_a_long_chat(
    person: Person, planted: tuple[str, list[int]]
) -> None:
    chat_id, ids = planted
    chat = await person.open(f"/chats/{chat_id}?message={ids[200]}#m{ids[200]}")
    await expect(chat.page.locator(f"#m{ids[200]}")).to_be_in_viewport()
    shown = await held(chat)
    assert shown == ids[-len(shown) :]
    assert shown.index(ids[200]) >= CONTEXT_ROWS


async def test_the_scroll_position_far_above_survives_a_reconnect(
    start: StartServer, server: Server, meet: Meet
) -> None:
    own = await start(server.folder / "none", max_tokens=20)
    chat_id = plant(own.folder / "wick.db", 200)
    person = await meet(own)
    person.expects(CONNECTION_LOST)
    chat = await person.open(f"/chats/{chat_id}")
    for count in (2, 3, 4):
        await chat.page.evaluate(UP)
        await expect(chat.log.locator("article")).to_have_count(count * PAGE_SIZE)
    await chat.page.evaluate("document.getElementById('scroll').scrollTop = 3000")
    before, shown = await chat.page.evaluate(TOPMOST), await held(chat)
    await own.kill()
    offline = chat.page.get_by_text("Connection lost.")
    await expect(offline).to_be_visible()
    await chat.log.locator("article").first.evaluate("one => one.dataset.old = 'yes'")
    await own.start()
    await expect(offline).to_be_hidden()
    await expect(chat.log.locator("[data-old]")).to_have_count(0)
    assert await held(chat) == shown
    await stands(chat, before)
