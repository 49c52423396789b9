"""Round trips of tools by the clients of OpenAI and Ollama, with a real model."""

from __future__ import annotations

import json
from typing import Any

import ollama
from openai import AsyncOpenAI

from tests.api.test_tools import smollm2
from tests.e2e.server import Server
from tests.smollm2 import NAME

__all__ = ["smollm2"]
ASKED: list[Any] = [{"role": "user", "content": "What is 2 and 3?"}]
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two small numbers.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {name: {"enum": [1, 2, 3]} for name in ("a", "b")},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
OFFERED: dict[str, Any] = {"model": NAME, "tools": [ADD], "max_tokens": 80, "seed": 1}
FORCED: dict[str, Any] = {"tool_choice": "required", "parallel_tool_calls": False}


async def test_openais_client_calls_a_tool_and_sends_its_result(smollm2: Server) -> None:
    async with AsyncOpenAI(base_url=f"{smollm2.origin}/v1", api_key="none") as client:
        made = await client.chat.completions.create(messages=ASKED, **OFFERED, **FORCED)
        answer = made.choices[0]
        assert answer.finish_reason == "tool_calls"
        calls = answer.message.tool_calls
        assert calls is not None
        (call,) = calls
        assert call.type == "function"
        values = json.loads(call.function.arguments)
        assert values.keys() == {"a", "b"}
        result = {"role": "tool", "tool_call_id": call.id, "content": str(sum(values.values()))}
        turns: Any = [*ASKED, answer.message.model_dump(exclude_none=True), result]
        again = OFFERED | {"max_tokens": 4}
        assert (await client.chat.completions.create(messages=turns, **again)).choices


async def test_openais_stream_helper_joins_calls(smollm2: Server) -> None:
    kinds = set()
    async with (
        AsyncOpenAI(base_url=f"{smollm2.origin}/v1", api_key="none") as client,
        client.chat.completions.stream(messages=ASKED, **OFFERED, **FORCED) as stream,
    ):
        async for event in stream:
            kinds.add(event.type)
        final = await stream.get_final_completion()
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments).keys() == {"a", "b"}


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: one number
        b: the other number
    """
    return a + b


async def test_ollamas_client_offers_functions_and_sends_their_results(smollm2: Server) -> None:
    options = {"num_predict": 4, "seed": 1}
    call = {"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    turns = [
        *ASKED,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "add", "content": "3"},
    ]
    async with ollama.AsyncClient(smollm2.origin) as client:
        first = await client.chat(NAME, ASKED, tools=[add], options=options)
        made = await client.chat(NAME, turns, tools=[add], options=options)
    assert first.prompt_eval_count
    assert made.prompt_eval_count
    assert made.prompt_eval_count > first.prompt_eval_count
