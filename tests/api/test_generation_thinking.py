"""Programs ask a model that thinks, with the clients that others made."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import ollama
import openai
import pytest

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.server import Server
from tests.inference.remote.stub import Call, Stub, serving

MESSAGES: list[Any] = [{"role": "user", "content": "Why?"}]


async def think(call: Call) -> None:
    await call.head()
    for name in ("reasoning_content", "reasoning"):
        await call.event({"choices": [{"delta": {name: "Hm. "}}]})
    await call.say("Be", "cause.")
    await call.finish(usage={"prompt_tokens": 11, "completion_tokens": 4})


@pytest.fixture(scope="module")
async def stub() -> AsyncIterator[Stub]:
    async with serving() as stub:
        stub.script = think
        yield stub


@pytest.fixture(scope="module")
async def thinker(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("thinker")
    store = ModelStore(folder / "store")
    store.add_remote("thinker", [Upstream(stub.url, "stub")], title="Thinker")
    server = await Server(folder, store.root, titles="off").start()
    yield server
    await server.close()


@pytest.fixture
async def client(thinker: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{thinker.origin}/v1", api_key="none") as client:
        yield client


async def test_an_answer_has_its_thought_in_a_field_of_its_own(client: openai.AsyncOpenAI) -> None:
    made = await client.chat.completions.create(model="thinker", messages=MESSAGES)
    message: Any = made.choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm. Hm. ", "Because.")
    assert made.usage is not None
    assert made.usage.completion_tokens_details is not None


async def test_thoughts_are_streamed_in_a_field_of_their_own(client: openai.AsyncOpenAI) -> None:
    thought = answer = ""
    stream = await client.chat.completions.create(model="thinker", messages=MESSAGES, stream=True)
    async for chunk in stream:
        delta: Any = chunk.choices[0].delta
        thought += getattr(delta, "reasoning_content", None) or ""
        answer += delta.content or ""
    assert (thought, answer) == ("Hm. Hm. ", "Because.")


@pytest.mark.parametrize(
    ("chosen", "sent"),
    [
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        (
            {"reasoning_effort": "none"},
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}},
        ),
        (
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
            {"chat_template_kwargs": {"enable_thinking": True}},
        ),
    ],
)
async def test_programs_choose_whether_and_how_much_to_think(
    client: openai.AsyncOpenAI, stub: Stub, chosen: dict[str, Any], sent: dict[str, Any]
) -> None:
    await client.chat.completions.create(model="thinker", messages=MESSAGES, **chosen)
    body = stub.calls[-1].body
    names = ("reasoning_effort", "chat_template_kwargs")
    assert {name: body[name] for name in names if name in body} == sent


async def test_an_unknown_effort_is_refused(thinker: Server) -> None:
    body = {"model": "thinker", "messages": MESSAGES, "reasoning_effort": "enormous"}
    async with httpx.AsyncClient(base_url=thinker.origin) as http:
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 400
        assert (await http.post("/api/chat", json=body | {"think": "enormous"})).status_code == 400


async def test_ollamas_client_gets_the_thought(thinker: Server, stub: Stub) -> None:
    async with ollama.AsyncClient(host=thinker.origin) as client:
        made = await client.chat("thinker", messages=MESSAGES, think=True)
        assert (made.message.thinking, made.message.content) == ("Hm. Hm. ", "Because.")
        assert stub.calls[-1].body["chat_template_kwargs"] == {"enable_thinking": True}
        parts = [part async for part in await client.generate("thinker", "Why?", stream=True)]
        assert "".join(part.thinking or "" for part in parts) == "Hm. Hm. "
        assert "".join(part.response or "" for part in parts) == "Because."
        await client.chat("thinker", messages=MESSAGES, think="high")
        assert stub.calls[-1].body["reasoning_effort"] == "high"


async def test_chats_send_thoughts_as_events_of_their_own(thinker: Server) -> None:
    async with httpx.AsyncClient(base_url=thinker.origin, timeout=60) as http:
        body = {"text": "Why?", "model": "thinker"}
        asked = (await http.post("/api/v1/chats", json=body)).json()
        for found in (await follow(http, asked["events"]), await follow(http, asked["events"])):
            assert found["end"][0]["text"] == "Because."
            # The second time, and perhaps the first, the answer had ended before it was followed.
            assert "".join(event["text"] for event in found["thought"]).strip() == "Hm. Hm."


async def follow(http: httpx.AsyncClient, path: str) -> dict[str, list[Any]]:
    """Follow an answer to its end; its events by name."""
    found: dict[str, list[Any]] = {}
    async with http.stream("GET", path) as events:
        name = ""
        async for line in events.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                found.setdefault(name, []).append(json.loads(value))
    return found
