"""Tool calls in a real browser: asked for, allowed once or always, denied, and stopped."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.conftest import Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.e2e.test_axe import assert_no_violations
from tests.inference.remote.stub import Call, Stub, serving

HOSTILE = '<img src=x onerror="document.title=1"> **bold** <|im_end|>'


@dataclass
class Caller:
    """A model that calls the tools it is told to call next, and then says that it is done."""

    next: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    heard: list[list[str]] = field(default_factory=list)

    async def answer(self, call: Call) -> None:
        results = [one["content"] for one in call.body["messages"] if one["role"] == "tool"]
        self.heard.append(results)
        await call.head()
        if not self.next:
            await call.say("That was all.")
            await call.finish()
            return
        await call.say("Let me look.")
        calls, self.next = self.next, []
        await call.call_tools(*calls)


@pytest.fixture
def caller() -> Caller:
    return Caller()


async def hang(call: Call) -> None:
    """A search engine that never answers."""
    await call.gone.wait()


@pytest.fixture
async def search_engine() -> AsyncIterator[Stub]:
    async with serving(hang) as stub:
        yield stub


@pytest.fixture
async def person(
    start: StartServer, caller: Caller, search_engine: Stub, tmp_path: Path, meet: Meet
) -> AsyncIterator[Person]:
    async with serving(caller.answer) as stub:
        store = ModelStore(tmp_path / "store")
        store.add_remote("caller", [Upstream(stub.url, "stub")], title="Caller")
        searxng = search_engine.url.removesuffix("/v1")
        yield await meet(await start(store.root, titles="off", searxng=searxng))


async def switch_on(chat: ChatPage, *names: str) -> None:
    await chat.page.get_by_role("button", name=re.compile("^Tools")).click()
    dialog = chat.page.get_by_role("dialog", name="Tools")
    for name in names:
        await dialog.get_by_role("checkbox", name=re.compile(f"^{name}")).check()
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_be_hidden()


def calls(chat: ChatPage, status: str) -> Locator:
    return chat.answer.locator(f"details[data-tool-call][data-status={status}]")


def decision(chat: ChatPage, name: str) -> Locator:
    return chat.answer.get_by_role("button", name=name, exact=True)


async def test_a_call_asks_runs_and_is_a_folded_line_afterwards(
    person: Person, caller: Caller
) -> None:
    chat = await person.open()
    await switch_on(chat, "Time", "Calculator")
    await expect(chat.notice).to_contain_text("On in this chat: Time, Calculator.")
    caller.next = [("calculator", {"expression": "17 * 23"})]
    await chat.ask("What is 17 times 23?")
    asking = calls(chat, "asking")
    await expect(asking).to_have_attribute("open", "")
    await expect(asking).to_contain_text(re.compile("Calculator .*asks to run"))
    await expect(asking.get_by_role("definition")).to_have_text("17 * 23")
    await assert_no_violations(chat.page, "a call that asks")
    other = ChatPage(await person.window())
    await other.page.goto(chat.page.url)
    await expect(calls(other, "asking")).to_be_visible()
    await chat.reload()
    await decision(chat, "Allow once").click()
    for page in (chat, other):
        await page.ends()
        line = calls(page, "done")
        await expect(line).to_contain_text(re.compile(r"Calculator 17 \* 23 (done|[0-9.]+ s)"))
        await expect(line).not_to_have_attribute("open", "")
        await expect(decision(page, "Allow once")).to_have_count(0)
        await expect(page.answer).to_contain_text(re.compile("Let me look.*That was all", re.S))
    assert caller.heard[-1] == ["391"]
    await calls(chat, "done").locator("summary").click()
    await expect(calls(chat, "done").locator("pre")).to_have_text("391")
    await assert_no_violations(chat.page, "a call that has run")

    caller.next = [("calculator", {"expression": "2 + 3"}), ("calculator", {"expression": "1 / 0"})]
    await chat.ask("And now?")
    await expect(calls(chat, "asking")).to_have_count(2)
    await decision(chat, "Always allow in this chat").first.click()
    await chat.ends()
    await expect(calls(chat, "done")).to_have_count(1)
    await expect(calls(chat, "failed")).to_contain_text("Calculator 1 / 0 failed")
    caller.next = [("calculator", {"expression": "6 * 7"}), ("current_time", {})]
    await chat.ask("Once more?")
    await expect(calls(chat, "done")).to_have_count(1)  # nobody was asked
    await expect(calls(chat, "asking")).to_contain_text("Time asks to run")
    await decision(chat, "Deny").click()
    await chat.ends()
    await expect(calls(chat, "denied")).to_contain_text("Time did not run")
    assert caller.heard[-1][-2:] == ["42", "The user did not allow this call."]
    await chat.reload()
    await expect(calls(chat, "denied")).to_be_visible()


async def test_stop_ends_calls_that_ask_and_that_run(
    person: Person, caller: Caller, search_engine: Stub
) -> None:
    chat = await person.open()
    await switch_on(chat, "Calculator", "Search the web")
    caller.next = [("calculator", {"expression": HOSTILE}), ("web_search", {"query": HOSTILE})]
    await chat.ask("Look it up.")
    await expect(calls(chat, "asking")).to_have_count(2)
    await decision(chat, "Allow once").last.click()
    await expect(calls(chat, "running")).to_contain_text(re.compile("Search the web .* is running"))
    asked = await search_engine.called()
    await chat.stop.click()
    await chat.ends("stopped")
    await asked.gone.wait()
    await expect(calls(chat, "denied")).to_contain_text(re.compile("Calculator .* did not run"))
    await expect(calls(chat, "failed")).to_contain_text(re.compile("Search the web .* failed"))
    await calls(chat, "failed").locator("summary").click()
    await expect(calls(chat, "failed").get_by_role("definition")).to_have_text(HOSTILE)
    await expect(chat.answer.locator("img")).to_have_count(0)
    assert len(caller.heard) == 1
