# mypy: ignore-errors
"""OpenAI's own client at `/v1/responses`: going on, structured output, and a call of a function."""

from __future__ import annotations

import json
import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
import openai
from pydantic import BaseModel, Field

ORIGIN, MODEL, _ = sys.argv[1:]
client = openai.OpenAI(base_url=f"{ORIGIN}/v1", api_key="none")


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)
    people: int = Field(ge=0, le=10_000_000)


given = {"model": MODEL, "temperature": 0, "max_output_tokens": 10}
first = client.responses.create(**given, input="Say hello in one word.")
with client.responses.stream(**given, input="Say hello in one word.", store=False) as stream:
    kinds = [event.type for event in stream]
    assert stream.get_final_response().output_text == first.output_text != ""
assert kinds[0] == "response.created"
second = client.responses.create(**given, input="And again.", previous_response_id=first.id)
assert second.usage.input_tokens > first.usage.input_tokens
assert client.responses.retrieve(second.id).output_text == second.output_text
client.responses.delete(second.id)

parsed = client.responses.parse(model=MODEL, input="Tell of Rome.", text_format=City)
assert isinstance(parsed.output_parsed, City)

schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}}
schema |= {"required": ["city"], "additionalProperties": False}
tool = {"type": "function", "name": "weather", "parameters": schema, "strict": True}
given = {"model": MODEL, "tools": [tool], "max_output_tokens": 60}
called = client.responses.create(
    **given, input="What is the weather in Rome?", tool_choice="required"
)
calls = [item for item in called.output if item.type == "function_call"]
assert calls
assert all(json.loads(call.arguments)["city"] in {"Rome", "Paris"} for call in calls)
answer = client.responses.create(
    **given,
    input=[
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        for call in calls
    ],
    previous_response_id=called.id,
    tool_choice="none",
)
assert answer.output_text
