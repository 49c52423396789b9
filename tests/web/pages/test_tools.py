"""Tools on the page: the dialog of a chat, the line of a call, and what its user says to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from quart import Quart

from app.conversations.submission import Prompt
from app.conversations.tool_calls import CallRecord, encode_calls
from app.db import chats, messages
from app.inference.process import RunnerProcess
from app.inference.protocol import Delta, Finished
from app.models.store import ModelStore
from app.models.text.tools import ToolCallDelta
from tests.application import PAGE, BrowserClient, context_of, run_app, sign_in, text_of
from tests.inference.scripted import ScriptedRunner
from tests.patience import until
from tests.tiny_gguf import write_tiny_gguf

CHAT = "0123456789abcdef"
HOSTILE = '<img src=x onerror="alert(1)"> **bold** <|im_end|> </pre><script>1</script>'


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


@pytest.fixture
async def ada(app: Quart) -> BrowserClient:
    return await sign_in(app, "ada", "owner")


async def switch_on(ada: BrowserClient, *names: str) -> str:
    headers = PAGE | {"Content-Type": "application/x-www-form-urlencoded"}
    data = "&".join(f"tool={quote(name)}" for name in names)
    return await text_of(await ada.ask("POST", f"/chats/{CHAT}/tools", data=data, headers=headers))


async def calling(app: Quart, runner: ScriptedRunner, arguments: str) -> int:
    """Let an answer call the calculator, and wait until it asks."""
    context = context_of(app)
    ref = await context.answers.submit(
        Prompt(user_id=1, chat_id=CHAT, text="hello", client_id="client01", model="tiny")
    )
    answer = ref.answer_id
    await until(lambda: any(command.id == answer for command in runner.sent))
    call = ToolCallDelta(0, "a", "calculator", arguments)
    runner.say(Delta(answer, "Let me *see*."), Delta(answer, "", calls=(call,)), done(answer, True))
    await until(lambda: any(stream.is_asking for stream in context.hub.streams()))
    return answer


def done(answer: int, has_called: bool = False) -> Finished:
    return Finished(answer, "tool_calls" if has_called else "stop", 9, 4, 2, 0.1, 0.1, 0)


async def decide(ada: BrowserClient, answer: int, decision: str, number: int = 0) -> Any:
    address = f"/chats/{CHAT}/messages/{answer}/calls/{number}"
    return await ada.ask("POST", address, form={"decision": decision}, headers=PAGE)


async def page(browser: BrowserClient) -> str:
    return await text_of(await browser.ask("GET", f"/chats/{CHAT}"))


async def test_tools_are_off_until_somebody_switches_them_on(ada: BrowserClient) -> None:
    dialog = await text_of(await ada.ask("GET", f"/chats/{CHAT}/tools", headers=PAGE))
    assert "Calculator" in dialog
    assert "checked" not in dialog
    assert "read_web_page" not in dialog  # the owner has not allowed it
    saved = await switch_on(ada, "calculator", "rm -rf", "current_time")
    assert "On in this chat: Time, Calculator." in saved
    assert 'aria-label="Tools, 2 on"' in saved
    dialog = await text_of(await ada.ask("GET", f"/chats/{CHAT}/tools", headers=PAGE))
    assert dialog.count(" checked") == 2
    menu = await text_of(await ada.ask("GET", f"/chats/{CHAT}/menu?in=header", headers=PAGE))
    assert "Tools (2 on)" in menu


async def test_a_call_asks_on_the_page_and_shows_its_result(
    app: Quart, ada: BrowserClient, runner: ScriptedRunner
) -> None:
    await switch_on(ada, "calculator")
    answer = await calling(app, runner, '{"expression": "6 * 7"}')
    html = await page(ada)
    assert 'data-tool-call data-status="asking"' in html
    for button in ("Allow once", "Always allow in this chat", "Deny"):
        assert f">{button}</button>" in html
    assert '<dd dir="auto">6 * 7</dd>' in html
    assert "Let me <em>see</em>." in html
    assert (await decide(ada, answer, "nonsense")).status_code == 400
    assert (await decide(ada, answer, "allow")).status_code == 204
    assert (await decide(ada, answer, "deny")).status_code in {404, 409}
    await until(lambda: len(runner.sent) == 2)
    runner.say(Delta(answer, "It is **42**."), done(answer))
    await until(lambda: context_of(app).hub.stream(answer) is None)
    html = await page(ada)
    assert 'data-tool-call data-status="done"' in html
    assert '<pre tabindex="0" dir="auto">42</pre>' in html
    assert "Allow once" not in html
    assert "<strong>42</strong>" in html
    assert html.index("Let me") < html.index("data-tool-call") < html.index("<strong>42")


async def test_others_reach_neither_tools_nor_calls(
    app: Quart, ada: BrowserClient, runner: ScriptedRunner
) -> None:
    await switch_on(ada, "calculator")
    answer = await calling(app, runner, "{}")
    ben = await sign_in(app, "ben")
    assert (await decide(ben, answer, "allow")).status_code == 404
    assert (await ben.ask("GET", f"/chats/{CHAT}/tools", headers=PAGE)).status_code == 404
    assert (await ben.ask("POST", f"/chats/{CHAT}/tools", headers=PAGE)).status_code == 404
    assert context_of(app).hub.stream(answer).is_asking  # type: ignore[union-attr]
    await context_of(app).answers.stop(1, CHAT)


async def test_what_a_call_has_is_text_and_stays_out_of_shared_pages(
    app: Quart, ada: BrowserClient
) -> None:
    call = CallRecord(
        id="a",
        name="x",
        title=HOSTILE,
        arguments=f'{{"a": "{"b" * 9}"}}',
        status="done",
        result=HOSTILE,
    )
    broken = CallRecord(id="b", name="y", arguments=HOSTILE, status="failed", result="No.")

    async def add(connection: Any) -> None:
        await chats.create(connection, CHAT, 1, "Walnuts", "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "hi", "client01", 1.0)
        answer = await messages.add_answer(connection, 1, CHAT, asked, "tiny", 1.0)
        counts = {"calls": encode_calls([call, broken])}
        await messages.finish(connection, 1, answer, "done", "The end", 2.0, counts=counts)
        await chats.advance(connection, 1, CHAT, answer, "tiny", 2.0)

    await context_of(app).chats._db.write(add)
    html = await page(ada)
    assert "<img src=x" not in html
    assert "<script>1" not in html
    assert html.count("&lt;img src=x onerror") == 4
    assert "<strong>bold" not in html
    token = await context_of(app).shares.share(1, CHAT)
    shared = await text_of(await BrowserClient(app).ask("GET", f"/shared/{token}"))
    assert shared.count("data-tool-call") == 2
    assert "bbbbbbbbb" not in shared
    assert shared.count("&lt;img src=x onerror") == 1  # the name of the tool
