"""A model that reasons before it answers, in a real browser; its server tells what it thinks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.conftest import Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.inference.remote.stub import Call, Stub, serving


class Thinker:
    """Says its thought and its answer when it is told to."""

    def __init__(self, stub: Stub) -> None:
        stub.script = self._script
        self._calls = asyncio.Queue[Call]()
        self._done = asyncio.Event()

    async def _script(self, call: Call) -> None:
        await call.head()
        self._calls.put_nowait(call)
        await self._done.wait()
        self._done.clear()

    async def asked(self) -> Call:
        return await self._calls.get()

    async def think(self, call: Call, text: str) -> None:
        await call.event({"choices": [{"delta": {"reasoning_content": text}}]})

    async def finish(self, call: Call, reason: str = "stop") -> None:
        await call.finish(reason)
        self._done.set()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as stub:
        yield stub


@pytest.fixture
async def person(start: StartServer, stub: Stub, tmp_path: Path, meet: Meet) -> Person:
    store = ModelStore(tmp_path / "store")
    store.add_remote("thinker", [Upstream(stub.url, "stub")], title="Thinker")
    return await meet(await start(store.root, titles="off"))


@pytest.fixture
def thinker(stub: Stub) -> Thinker:
    return Thinker(stub)


async def begin(person: Person, thinker: Thinker) -> tuple[ChatPage, Call]:
    """Ask something in a new chat; the model has got it when this returns."""
    chat = await person.open()
    await chat.ask("Why is the sky blue?")
    return chat, await thinker.asked()


async def unfold(chat: ChatPage) -> None:
    """Unfold the thought of the last answer."""
    await chat.answers.last.locator("details[data-thinking] summary").click()


async def test_a_thought_is_folded_above_the_answer_and_stays_as_it_was_left(
    person: Person, thinker: Thinker
) -> None:
    chat, call = await begin(person, thinker)
    await thinker.think(call, "Light is <b>scattered</b>.\n")
    answer = chat.answers.last
    thought = answer.locator("details[data-thinking]")
    await expect(thought.locator("summary")).to_have_text(re.compile("Thinking…"))
    await expect(answer.locator(".line")).to_be_empty()
    await expect(thought).not_to_have_attribute("open", "")
    await thought.locator("summary").click()
    await thinker.think(call, "Blue most.")
    said = thought.locator("div")
    await expect(said).to_have_text("Light is <b>scattered</b>.\nBlue most.")
    await call.say("Because of ")
    await expect(answer.locator("[data-body]")).to_contain_text("Because of")
    await expect(thought.locator("summary")).to_have_text(re.compile("^Thought"))
    await expect(thought).to_have_attribute("open", "")
    await call.say("*scattering*.")
    await thinker.finish(call)
    await chat.ends()
    await expect(thought).to_have_attribute("open", "")
    await expect(said).to_have_text("Light is <b>scattered</b>.\nBlue most.")
    await expect(answer.locator("[data-body]")).to_have_text("Because of scattering.")
    await chat.page.reload()
    await expect(thought).not_to_have_attribute("open", "")
    await unfold(chat)
    await expect(said).to_have_text("Light is <b>scattered</b>.\nBlue most.")


async def test_an_answer_that_is_cut_while_thinking_says_so_and_goes_on(
    person: Person, thinker: Thinker
) -> None:
    chat, call = await begin(person, thinker)
    await thinker.think(call, "Light is")
    await thinker.finish(call, "length")
    await chat.ends()
    answer = chat.answers.last
    await expect(answer.locator(".line")).to_have_text("Ended at the length limit while thinking")
    await answer.get_by_role("button", name="Continue").click()
    call = await thinker.asked()
    await call.say("Scattering.")
    await thinker.finish(call)
    await chat.ends()
    await expect(answer.locator("[data-body]")).to_have_text("Scattering.")
    await expect(answer.locator("details[data-thinking] div")).to_have_text("Light is")


async def test_another_tab_shows_the_thought_while_it_grows(
    person: Person, thinker: Thinker
) -> None:
    chat, call = await begin(person, thinker)
    await thinker.think(call, "One. ")
    await expect(chat.answers.last.locator("details[data-thinking]")).to_be_visible()
    other = await person.open(f"/chats/{chat.chat_id}")
    said = other.answers.last.locator("details[data-thinking] div")
    await expect(said).to_have_text("One. ")
    await thinker.think(call, "Two.")
    await expect(said).to_have_text("One. Two.")
    await call.say("Yes.")
    await thinker.finish(call)
    await other.ends()
    await expect(other.answers.last.locator("[data-body]")).to_have_text("Yes.")
