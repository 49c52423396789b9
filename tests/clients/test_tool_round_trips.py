"""Tool calls and their results by Anthropic's and OpenAI's own clients, with a real model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.e2e.server import Server
from tests.smollm2 import NAME, store_with_smollm2

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
QUESTION: Any = {"role": "user", "content": "What is the weather in Paris?"}
ABOUT = {"name": "get_weather", "description": "The weather in a city."}
HOSTED = {"type": "web_search_20250305", "name": "web_search"}


@pytest.fixture(scope="module")
async def smollm2(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("tool-clients")
    made = Server(folder, store_with_smollm2(), titles="off")
    await made.start()
    yield made
    await made.close()


def check_arguments(arguments: Any) -> None:
    assert arguments.keys() == {"city", "unit"}
    assert arguments["unit"] in {"C", "F"}


async def test_a_round_trip_by_anthropics_client(smollm2: Server) -> None:
    async with AsyncAnthropic(base_url=smollm2.origin, api_key="none", max_retries=0) as client:
        given: dict[str, Any] = {
            "model": NAME,
            "messages": [QUESTION],
            "max_tokens": 100,
            "tools": [ABOUT | {"input_schema": SCHEMA}, HOSTED],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "extra_body": {"seed": 1},
        }
        whole = await client.messages.create(**given)
        call = whole.content[-1]
        assert call.type == "tool_use"
        assert (whole.stop_reason, call.name) == ("tool_use", "get_weather")
        check_arguments(call.input)
        pieces = ""
        async with client.messages.stream(**given) as stream:
            async for event in stream:
                if event.type == "input_json":
                    pieces += event.partial_json
            last = (await stream.get_final_message()).content[-1]
        assert last.type == "tool_use"
        assert last.input == call.input == json.loads(pieces)
        given["tool_choice"] = {"type": "none"}
        given["messages"] = [
            QUESTION,
            {"role": "assistant", "content": [block.model_dump() for block in whole.content]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}],
            },
        ]
        answer = await client.messages.create(**given)
        assert answer.content[0].type == "text"
        assert answer.content[0].text
        given["tool_choice"] = {"type": "tool", "name": "unheard-of"}
        with pytest.raises(anthropic.BadRequestError, match="unheard-of"):
            await client.messages.create(**given)


async def test_a_round_trip_by_responses(smollm2: Server) -> None:
    async with AsyncOpenAI(
        base_url=f"{smollm2.origin}/v1", api_key="none", max_retries=0
    ) as client:
        tool = ABOUT | {"type": "function", "parameters": SCHEMA, "strict": True}
        given: dict[str, Any] = {
            "model": NAME,
            "tools": [tool, {"type": "web_search"}],
            "max_output_tokens": 100,
            "parallel_tool_calls": False,
            "extra_body": {"seed": 1},
        }
        whole = await client.responses.create(**given, input=[QUESTION], tool_choice="required")
        call = whole.output[-1]
        assert call.type == "function_call"
        assert (whole.status, call.status, call.name) == ("completed", "completed", "get_weather")
        check_arguments(json.loads(call.arguments))
        only: Any = {"type": "function", "name": "get_weather"}
        kinds = []
        async with client.responses.stream(**given, input=[QUESTION], tool_choice=only) as stream:
            async for event in stream:
                kinds.append(event.type)
            last = (await stream.get_final_response()).output[-1]
        assert last.type == "function_call"
        assert last.arguments == call.arguments
        assert "response.function_call_arguments.delta" in kinds
        assert kinds[-3:-1] == [
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        answer = await client.responses.create(
            **given, input=[result], previous_response_id=whole.id, tool_choice="none"
        )
        assert answer.output_text
        allowed: Any = {"type": "allowed_tools", "mode": "required", "tools": []}
        with pytest.raises(openai.BadRequestError, match="no tools"):
            await client.responses.create(**given, input=[QUESTION], tool_choice=allowed)
