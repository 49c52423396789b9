"""The page Tools: owners add, test, allow and remove MCP servers; nobody sees a secret again."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from quart import Quart

from app.conversations.submission import Prompt
from app.inference.process import RunnerProcess
from app.inference.protocol import Delta, Finished, Generate
from app.media.extras import EXTRAS
from app.models.store import ModelStore
from app.models.text.tools import ToolCallDelta
from tests.application import OWN, PAGE, BrowserClient, context_of, run_app, sign_in, text_of
from tests.inference.scripted import ScriptedRunner
from tests.patience import until
from tests.tiny_gguf import write_tiny_gguf

CHAT, ADD = "0123456789abcdef", "sample__add"
SERVERS = Path(__file__).parents[2] / "tools/mcp"
SAMPLE = shlex.join([sys.executable, str(SERVERS / "sample_server.py")])
BAD = shlex.join([sys.executable, str(SERVERS / "bad_server.py")])


async def add(owner: BrowserClient, app: Quart, **given: str) -> int:
    """Add a server through the page and wait until it has been tested."""
    form = {"access": "owners", "secrets": ""} | given
    answer = await owner.ask("POST", "/tools", form=form)
    assert answer.status_code == 303
    server_id = int(answer.headers["Location"].removeprefix("/tools#server-"))
    await until(lambda: not context_of(app).mcp_servers.is_testing(server_id))
    return server_id


async def test_an_owner_adds_a_server_and_allows_it(tmp_path: Path) -> None:
    async with run_app(tmp_path, accounts="on") as app:
        owner, member = await sign_in(app, "anna"), await sign_in(app, "berta")
        secret = "FOX=hidden-in-the-den"
        server = await add(owner, app, name="Sample", target=SAMPLE, secrets=secret)
        page = await text_of(await owner.ask("GET", "/tools"))
        assert "8 tools, 2 resources, 1 prompt · listed just now" in page
        assert "<dt>Add numbers <code>sample__add</code></dt>" in page
        assert "Variables: FOX" in page
        assert "in-the-den" not in page
        for path in ("/tools", f"/tools/{server}"):
            assert (await member.ask("GET", path)).status_code == 403
        form = {"target": SAMPLE, "secrets": "FOX=\nHEN=brown"}
        assert (await owner.ask("POST", f"/tools/{server}", form=form)).status_code == 303
        await until(lambda: not context_of(app).mcp_servers.is_testing(server))
        page = await text_of(await owner.ask("GET", "/tools"))
        assert "Variables: HEN" in page
        assert "8 tools" in page
        answer = await owner.ask("POST", f"/tools/{server}", form={"target": "'", "secrets": ""})
        assert answer.status_code == 422
        page = await text_of(answer)
        assert page.count("A quotation mark is missing.") == 1
        assert 'class="more change" open' in page
        assert (await member.ask("POST", f"/tools/{server}", form=form)).status_code == 403
        form = {"access": "chosen", "user": str(await user_id(app, "berta"))}
        answer = await owner.ask("POST", f"/tools/{server}/access", form=form)
        assert answer.status_code == 303
        page = await text_of(await owner.ask("GET", "/tools"))
        assert "For: owners and chosen members (berta)" in page
        usable = await context_of(app).mcp_servers.usable(await user_id(app, "berta"))
        assert [found.name for found in usable] == ["sample"]
        await owner.ask("POST", f"/tools/{server}/switch-off")
        assert "Switched off" in await text_of(await owner.ask("GET", f"/tools/{server}"))
        await owner.ask("POST", f"/tools/{server}/remove")
        answer = await owner.ask("GET", "/tools?done=removed")
        assert "sample" not in await text_of(answer)


async def test_a_chat_uses_a_tool_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = ScriptedRunner()

    async def start(*_: object) -> ScriptedRunner:
        return runner

    monkeypatch.setattr(RunnerProcess, "start", start)
    ModelStore(tmp_path / "models").install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")
    async with run_app(tmp_path, titles="off", measure_engines=False) as app:
        owner = BrowserClient(app)
        await add(owner, app, name="sample", target=SAMPLE)
        dialog = await text_of(await owner.ask("GET", f"/chats/{CHAT}/tools", headers=PAGE))
        assert "Add numbers" in dialog
        saved = await owner.ask("POST", f"/chats/{CHAT}/tools", form={"tool": ADD}, headers=PAGE)
        assert "On in this chat: Add numbers." in await text_of(saved)
        prompt = Prompt(user_id=1, chat_id=CHAT, text="2+3?", client_id="client01", model="tiny")
        answer = (await context_of(app).answers.submit(prompt)).answer_id
        await until(lambda: bool(generated(runner)))
        assert [spec.name for spec in generated(runner)[0].tools] == [ADD]
        call = ToolCallDelta(0, "a", ADD, '{"a": 2, "b": 3}')
        runner.say(Delta(answer, "", calls=(call,)), ended(answer, "tool_calls"))
        await until(lambda: any(one.is_asking for one in context_of(app).hub.streams()))
        address = f"/chats/{CHAT}/messages/{answer}/calls/0"
        given = await owner.ask("POST", address, form={"decision": "allow"}, headers=PAGE)
        assert given.status_code == 204
        await until(lambda: len(generated(runner)) == 2)
        last = generated(runner)[1].turns[-1]
        assert (last.role, last.tool, last.content) == ("tool", ADD, "5")
        runner.say(Delta(answer, "It is 5."), ended(answer, "stop"))
        await until(lambda: context_of(app).hub.stream(answer) is None)
        html = await text_of(await owner.ask("GET", f"/chats/{CHAT}"))
        assert 'data-tool-call data-status="done"' in html


def generated(runner: ScriptedRunner) -> list[Generate]:
    return [command for command in runner.sent if isinstance(command, Generate) and command.chat]


def ended(answer: int, reason: Literal["stop", "tool_calls"]) -> Finished:
    return Finished(answer, reason, 9, 4, 2, 0.1, 0.1, 0)


async def user_id(app: Quart, name: str) -> int:
    return (await context_of(app).users.get_by_name(name)).id


async def test_what_is_wrong_is_said_beside_it(tmp_path: Path) -> None:
    async with run_app(tmp_path) as app:
        owner = BrowserClient(app)
        form = {"name": "a b", "target": "'", "secrets": "A=s3cret\nB C", "access": "owners"}
        answer = await owner.ask("POST", "/tools", form=form)
        page = await text_of(answer)
        assert answer.status_code == 422
        assert "Write one a line" in page
        assert "s3cret" not in page
        answer = await owner.ask("POST", "/tools", form=form | {"secrets": ""})
        page = await text_of(answer)
        assert "Use at most 24 small letters and digits" in page
        assert "A quotation mark is missing." in page
        assert (await owner.ask("POST", "/tools/1/access", form={})).status_code == 422


async def test_lies_and_last_words_are_text(tmp_path: Path) -> None:
    async with run_app(tmp_path) as app:
        owner = BrowserClient(app)
        server = await add(owner, app, name="liar", target=f"{BAD} lies")
        page = await text_of(await owner.ask("GET", "/tools"))
        assert "&lt;script&gt;x&lt;/script&gt;" in page
        assert "<script>x" not in page
        assert "The tool “twice” is offered twice; the first one is used." in page
        dead = await add(owner, app, name="dead", target=f"{BAD} dead")
        page = await text_of(await owner.ask("GET", f"/tools/{dead}"))
        assert "Failed just now: It ended (exit code 1)." in page
        assert "ModuleNotFoundError: no module named fox" in page
        assert 'data-status="failed"' in page
        assert 'hx-trigger="every 1s"' not in page
        await owner.ask("POST", f"/tools/{server}/test")
        assert "Testing…" in await text_of(await owner.ask("GET", f"/tools/{server}"))
        await until(lambda: not context_of(app).mcp_servers.is_testing(server))


async def test_what_is_missing_can_be_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_app(tmp_path) as app:
        missing = replace(EXTRAS["mcp"], modules=("no_such_module",))
        monkeypatch.setitem(EXTRAS, "mcp", missing)
        servers = context_of(app).mcp_servers
        monkeypatch.setattr(type(servers), "is_set_up", property(lambda _: False))
        owner = BrowserClient(app)
        page = await text_of(await owner.ask("GET", "/tools", headers=OWN))
        assert "Not set up yet" in page
        assert "wick[mcp]" in page
        form = {"name": "time", "target": "true", "access": "owners"}
        assert (await owner.ask("POST", "/tools", form=form)).status_code == 303
        answer = await owner.ask("POST", "/tools/1/test")
        assert answer.status_code == 501
        assert "MCP is not set up here." in await text_of(answer)
