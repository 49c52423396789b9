"""Tools on `/v1/chat/completions`, with a real model that knows none by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server
from tests.smollm2 import NAME, store_with_smollm2

PATH = "/v1/chat/completions"
ASKED = {"role": "user", "content": "What is the weather in Paris?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 30},
                "unit": {"enum": ["C", "F"]},
            },
            "required": ["city", "unit"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time."}}
BODY: dict[str, Any] = {
    "model": NAME,
    "messages": [ASKED],
    "tools": [WEATHER, CLOCK],
    "seed": 1,
    "max_tokens": 100,
    "parallel_tool_calls": False,
}


@pytest.fixture(scope="module")
async def smollm2(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("tools")
    made = Server(folder, store_with_smollm2(), titles="off", queue_limit=100)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def client(smollm2: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=smollm2.origin, timeout=120) as client:
        yield client


async def given(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def check_call(call: dict[str, Any]) -> None:
    assert call["type"] == "function"
    arguments = json.loads(call["function"]["arguments"])
    if call["function"]["name"] == "clock":
        assert arguments == {}
        return
    assert call["function"]["name"] == "get_weather"
    assert arguments.keys() == {"city", "unit"}
    assert arguments["unit"] in {"C", "F"}


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "clock"}}]
)
async def test_a_tool_is_called_where_one_must_be(client: httpx.AsyncClient, choice: Any) -> None:
    made = await given(client, BODY | {"tool_choice": choice, "n": 2})
    for answer in made["choices"]:
        assert answer["finish_reason"] == "tool_calls"
        assert answer["message"]["content"] is None
        (call,) = answer["message"]["tool_calls"]
        check_call(call)
        if choice != "required":
            assert call["function"]["name"] == "clock"


async def test_no_tool_is_called_where_none_may_be(client: httpx.AsyncClient) -> None:
    made = await given(client, BODY | {"tool_choice": "none", "max_tokens": 8})
    (answer,) = made["choices"]
    assert answer["finish_reason"] == "length"
    assert "tool_calls" not in answer["message"]


async def test_a_call_is_streamed_in_fragments_with_its_name_once(
    client: httpx.AsyncClient,
) -> None:
    body = BODY | {"tool_choice": "required", "stream": True}
    deltas, reasons = [], []
    async with client.stream("POST", PATH, json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                (choice,) = json.loads(line[6:])["choices"]
                deltas += choice["delta"].get("tool_calls", ())
                reasons.append(choice["finish_reason"])
    first, *rest = deltas
    assert first["id"]
    assert first["type"] == "function"
    assert all(one.keys() == {"index", "function"} for one in rest)
    assert all("name" not in one["function"] for one in rest)
    assert {one["index"] for one in deltas} == {0}
    arguments = "".join(one["function"]["arguments"] for one in deltas)
    check_call(first | {"function": first["function"] | {"arguments": arguments}})
    assert reasons[-1] == "tool_calls"
    assert set(reasons[:-1]) == {None}


async def test_a_round_trip_reads_only_what_is_new(client: httpx.AsyncClient) -> None:
    made = await given(client, BODY | {"tool_choice": "required"})
    message = made["choices"][0]["message"]
    result = {
        "role": "tool",
        "tool_call_id": message["tool_calls"][0]["id"],
        "content": "18 degrees, sunny.<|im_end|>",
    }
    again = await given(client, BODY | {"messages": [ASKED, message, result], "max_tokens": 4})
    known = made["usage"]["prompt_tokens"] + made["usage"]["completion_tokens"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= known - 1


async def test_ollama_gets_whole_calls_with_objects(client: httpx.AsyncClient) -> None:
    options = {"seed": 1, "num_predict": 100}
    body = {"model": NAME, "messages": [ASKED], "tools": [WEATHER], "options": options}
    asked = body | {"tool_choice": "required", "stream": False}
    made = (await client.post("/api/chat", json=asked)).json()
    assert made["done_reason"] == "stop"
    (call, *_) = made["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"].keys() == {"city", "unit"}
    answer = await client.post("/api/chat", json=asked | {"stream": True})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    called = [line for line in lines if line["message"].get("tool_calls")]
    assert [line["message"]["tool_calls"][0]["function"] for line in called] == [call["function"]]
    assert lines[-1]["done"]
    said = {"role": "tool", "tool_name": "get_weather", "content": "18 degrees"}
    turns = [ASKED, made["message"], said]
    again = await client.post("/api/chat", json=body | {"messages": turns, "stream": False})
    assert again.status_code == 200
    refused = await client.post("/api/chat", json=asked | {"format": "json"})
    assert refused.status_code == 400


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
    ({"tools": [], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tools": [CLOCK, CLOCK]}, "tools[1].function.name"),
    ({"tools": [{"type": "function", "function": {"name": 'a"b'}}]}, "tools[0].function.name"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"grammar": "root ::= [a-z]+"}, "grammar"),
]


@pytest.mark.parametrize(("more", "param"), REFUSED)
async def test_what_cannot_be_is_refused(
    client: httpx.AsyncClient, more: dict[str, Any], param: str
) -> None:
    answer = await client.post(PATH, json=BODY | more)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_a_schema_that_cannot_be_followed_is_refused_with_its_name(
    client: httpx.AsyncClient,
) -> None:
    endless = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}
    broken = {"type": "function", "function": {"name": "broken", "parameters": endless}}
    answer = await client.post(PATH, json=BODY | {"tools": [CLOCK, broken]})
    assert answer.status_code == 400
    assert "broken" in answer.json()["error"]["message"]
