# mypy: ignore-errors
"""Anthropic's own client: an answer, its stream, a count, and a call of a tool with its result."""

from __future__ import annotations

import json
import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
import anthropic

ORIGIN, MODEL, _ = sys.argv[1:]
HELLO = [{"role": "user", "content": "Say hello in one word."}]
client = anthropic.Anthropic(base_url=ORIGIN, api_key="none")

assert MODEL in [model.id for model in client.models.list()]
given = {"model": MODEL, "messages": HELLO, "max_tokens": 10, "extra_body": {"temperature": 0}}
whole = client.messages.create(**given, system="Be brief.")
with client.messages.stream(**given, system="Be brief.") as stream:
    streamed = "".join(stream.text_stream)
assert whole.content[0].text == streamed != ""
counted = client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.")
read = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
assert counted.input_tokens == read

schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}}
schema |= {"required": ["city"], "additionalProperties": False}
weather = {"name": "weather", "description": "The weather in a city.", "input_schema": schema}
asked = {"role": "user", "content": "What is the weather in Rome?"}
given = {"model": MODEL, "tools": [weather], "max_tokens": 60}
called = client.messages.create(**given, messages=[asked], tool_choice={"type": "any"})
assert called.stop_reason == "tool_use"
calls = [block for block in called.content if block.type == "tool_use"]
assert all(call.input["city"] in {"Rome", "Paris"} for call in calls), json.dumps(called)
results = [{"type": "tool_result", "tool_use_id": one.id, "content": "sunny"} for one in calls]
answer = client.messages.create(
    **given,
    messages=[
        asked,
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": results},
    ],
    tool_choice={"type": "none"},
)
assert answer.content[0].text

refused = None
try:
    client.messages.create(
        model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "water " * 9000}]
    )
except anthropic.BadRequestError as error:
    refused = error
assert "prompt is too long" in refused.message
