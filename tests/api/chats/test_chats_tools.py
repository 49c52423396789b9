"""Tools of chats over `/api/v1`: chosen, called, allowed; and in files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from app.inference.process import RunnerProcess
from app.inference.protocol import Delta, Finished
from app.models.store import ModelStore
from app.models.text.tools import ToolCallDelta
from tests.application import BrowserClient, context_of, run_app, sign_in
from tests.inference.scripted import ScriptedRunner
from tests.patience import until
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ScriptedRunner:
    made = ScriptedRunner()

    async def start(*_: object) -> ScriptedRunner:
        return made

    monkeypatch.setattr(RunnerProcess, "start", start)
    return made


@pytest.fixture
async def app(tmp_path: Path, runner: ScriptedRunner) -> AsyncIterator[Quart]:
    ModelStore(tmp_path / "models").install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")
    async with run_app(tmp_path, host="0.0.0.0", titles="off") as made:
        yield made


async def ask(browser: BrowserClient, method: str, path: str, body: Any = None) -> Any:
    given = {} if body is None else {"json": body}
    answer = await browser.ask(method, f"/api/v1/chats{path}", **given)
    assert answer.status_code < 300, await answer.get_data(as_text=True)
    return await answer.get_json()


async def test_a_program_chooses_tools_and_allows_a_call(
    app: Quart, runner: ScriptedRunner
) -> None:
    ada = await sign_in(app, "ada", "owner")
    refused = await ada.ask("POST", "/api/v1/chats", json={"text": "hi", "tools": ["rm"]})
    assert refused.status_code == 400
    made = await ask(ada, "POST", "", {"text": "hi", "tools": ["calculator"]})
    chat, answer = f"/{made['chat']['id']}", made["answer"]["id"]
    message = f"{chat}/messages/{answer}"
    await until(lambda: any(command.id == answer for command in runner.sent))
    deltas = (
        ToolCallDelta(0, "a", "calculator", '{"expression": '),
        ToolCallDelta(0, "", "", '"6*7"}'),
    )
    runner.say(Delta(answer, "So:", calls=deltas[:1]), Delta(answer, "", calls=deltas[1:]))
    runner.say(Finished(answer, "tool_calls", 9, 4, 2, 0.1, 0.1, 0))
    await until(lambda: any(stream.is_asking for stream in context_of(app).hub.streams()))
    found = await ask(ada, "GET", message)
    assert found["status"] == "calling"
    assert (found["calls"][0]["status"], found["calls"][0]["number"]) == ("asking", 0)
    await ask(ada, "POST", f"{message}/calls/0", {"decision": "always"})
    await until(lambda: len(runner.sent) == 2)
    runner.say(Delta(answer, "42."), Finished(answer, "stop", 30, 9, 2, 0.1, 0.1, 0))
    await until(lambda: context_of(app).hub.stream(answer) is None)
    found = await ask(ada, "GET", message)
    assert (found["text"], found["calls"][0]["result"]) == ("So:\n\n42.", "42")
    tools = (await ask(ada, "GET", f"{chat}/tools"))["data"]
    states = {tool["name"]: (tool["on"], tool["permission"]) for tool in tools}
    assert states["calculator"] == (True, "allow")
    assert states["current_time"] == (False, "ask")
    await ask(ada, "PUT", f"{chat}/tools", {"on": ["current_time"]})
    tools = (await ask(ada, "GET", f"{chat}/tools"))["data"]
    assert [tool["name"] for tool in tools if tool["on"]] == ["current_time"]
    copied = await ask(ada, "POST", f"{message}/branch", {})
    path = (await ask(ada, "GET", f"/{copied['id']}/messages"))["data"]
    assert path[-1]["calls"] == found["calls"]
    tools = (await ask(ada, "GET", f"/{copied['id']}/tools"))["data"]
    assert [tool["name"] for tool in tools if tool["on"]] == ["current_time"]
    await check_files(app, ada, chat, found)


async def check_files(app: Quart, ada: BrowserClient, chat: str, answer: Any) -> None:
    """An export has the calls, to be read and to be imported."""
    exported = await ada.ask("GET", f"/api/v1/chats{chat}/export.json")
    content = json.loads(await exported.get_data())
    calls = content["chats"][0]["messages"][-1]["calls"]
    assert calls[0]["result"] == "42"
    markdown = await ada.ask("GET", f"/api/v1/chats{chat}/export.md")
    assert "- Tool Calculator: `" in await markdown.get_data(as_text=True)
    content["chats"][0]["id"] = "another"
    calls[0]["status"] = "running"  # as if it had been exported in the middle
    path = Path(context_of(app).settings.data_dir) / "file.json"
    path.write_text(json.dumps(content))
    with path.open("rb") as file:
        await context_of(app).imports.import_file(1, file)
    chats = (await ask(ada, "GET", ""))["data"]
    messages = [(await ask(ada, "GET", f"/{c['id']}/messages"))["data"] for c in chats]
    found = [path[-1]["calls"] for path in messages if path[-1]["calls"]]
    assert sorted(calls[0]["status"] for calls in found) == ["denied", "done", "done"]
    assert all(calls[0]["text_place"] == answer["calls"][0]["text_place"] for calls in found)
