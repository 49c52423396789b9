"""Tool calls at the terminal: allowed, allowed always, denied, stopped, and decided elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.server import Server
from tests.inference.remote.stub import Call, serving
from tests.patience import until
from tests.terminal.conftest import Open
from tests.terminal.terminal import Terminal, piped, wick_environment


@dataclass
class Caller:
    """A model that calls a tool with what it is told, and then repeats what it has heard."""

    next: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, call: Call) -> None:
        heard = [one["content"] for one in call.body["messages"] if one["role"] == "tool"]
        await call.head()
        if not self.next:
            await call.say(f"Heard: {heard[-1] if heard else 'nothing'}")
            await call.finish()
            return
        await call.say("Let me *see*.")
        calls, self.next = [("calculator", arguments) for arguments in self.next], []
        await call.call_tools(*calls)


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
async def server(tmp_path: Path, caller: Caller) -> AsyncIterator[Server]:
    async with serving(caller.answer) as stub:
        store = ModelStore(tmp_path / "store")
        store.add_remote("caller", [Upstream(stub.url, "stub")], title="Caller")
        folder = tmp_path / "data"
        folder.mkdir()
        server = Server(folder, store.root, titles="off")
        await server.start()
        yield server
        await server.close()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return wick_environment(tmp_path / "data", tmp_path / "store")


def begin(terminal: Open, environ: dict[str, str]) -> Terminal:
    user = terminal(environ)
    user.is_ready()
    user.enter("/tools calculator")
    user.sees("On in this chat: calculator. Each call asks before it runs.")
    user.is_ready()
    return user


async def test_a_call_is_asked_about_and_told_of_in_a_line(
    server: Server, caller: Caller, environ: dict[str, str], terminal: Open
) -> None:
    def chat() -> None:
        user = begin(terminal, environ)
        caller.next = [{"expression": "17 * 23"}]
        user.enter("17 times 23?")
        user.sees("Calculator asks to run")
        assert "expression: 17 * 23" in user.text
        user.sees("Deny")
        user.type("1\r")
        user.sees("Calculator (17 * 23): 391")
        user.sees("Heard: 391")
        user.is_ready()
        caller.next = [{"expression": "1 / 0"}]
        user.enter("And that?")
        user.sees("expression: 1 / 0")
        user.sees("Deny")
        user.type("\r")
        user.sees("Calculator (1 / 0) did not run.")
        user.sees("Heard: The user did not allow this call.")
        user.is_ready()
        caller.next = [{"expression": "2 + 2"}, {"expression": "1 / 0"}]
        user.enter("These?")
        user.sees("expression: 2 + 2")
        user.sees("Deny")
        user.type("2\r")
        user.sees("Calculator (2 + 2): 4")
        user.sees("Calculator (1 / 0) failed: Nothing can be divided by zero.")
        user.is_ready()
        caller.next = [{"expression": "3 + 3"}]
        user.enter("Nobody is asked now")
        user.sees("Calculator (3 + 3): 6")
        user.is_ready()
        user.enter("/tools")
        user.sees("on   calculator")
        user.enter("/tools rm")
        user.sees("There is no tool “rm”.")
        user.enter("/tools -")
        user.sees("No tools are on in this chat.")
        user.enter("/history")
        user.until(lambda text: text.count("Calculator (17 * 23): 391") == 2, "the old line")

    await asyncio.to_thread(chat)


async def test_escape_stops_the_answer_and_the_page_may_decide_first(
    server: Server, caller: Caller, environ: dict[str, str], terminal: Open
) -> None:
    user = await asyncio.to_thread(begin, terminal, environ)

    def ask(expression: str) -> None:
        caller.next = [{"expression": expression}]
        user.enter("Calculate.")
        user.sees(f"expression: {expression}")
        user.sees("Deny")

    def escape() -> None:
        user.type("\x1b")
        user.sees("Calculator (5 + 5) did not run.")
        user.sees("Stopped")
        user.is_ready()

    def goes_on() -> None:
        user.sees("Calculator (6 + 6): 12")
        user.sees("Heard: 12")
        user.is_ready()

    await asyncio.to_thread(ask, "5 + 5")
    await asyncio.to_thread(escape)
    await asyncio.to_thread(ask, "6 + 6")
    (row,) = server.rows("SELECT id, chat_id FROM messages WHERE status = 'queued'")
    async with httpx.AsyncClient(base_url=server.origin) as client:
        path = f"/api/v1/chats/{row['chat_id']}/messages/{row['id']}/calls/0"
        assert (await client.post(path, json={"decision": "allow"})).status_code == 200
    await asyncio.to_thread(goes_on)


async def test_where_nobody_can_be_asked_calls_are_denied(
    server: Server, caller: Caller, environ: dict[str, str], tmp_path: Path
) -> None:
    async with httpx.AsyncClient(base_url=server.origin) as client:
        body = {"text": "Hello", "tools": ["calculator"], "model": "caller"}
        made = (await client.post("/api/v1/chats", json=body)).json()
    await until(
        lambda: bool(
            server.rows("SELECT 1 FROM messages WHERE role = 'assistant' AND status = 'done'")
        )
    )
    caller.next = [{"expression": "1 + 1"}]
    words = ("--resume", made["chat"]["id"], "Calculate.")
    done = await asyncio.to_thread(piped, environ, "--json", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["text"].endswith("Heard: The user did not allow this call.")
    caller.next = [{"expression": "1 + 1"}]
    done = await asyncio.to_thread(piped, environ, *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Heard: The user did not allow" in done.stdout
