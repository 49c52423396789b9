"""Anthropic's own client for Python against the real server."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.server import Server
from tests.inference.remote.stub import Call, serving
from tests.media.samples import encoded

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
GIVEN: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 12}
SEED: dict[str, Any] = {"extra_body": {"seed": 3}}


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=server.origin, api_key="none", max_retries=0) as made:
        yield made


def prompt_tokens(made: Message) -> int:
    """Of the prompt, read anew or from the cache."""
    return made.usage.input_tokens + (made.usage.cache_read_input_tokens or 0)


async def test_whole_and_streamed_answers_are_the_same(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(**GIVEN, **SEED)
    [block] = whole.content
    assert block.type == "text"
    assert (whole.type, whole.role, whole.model) == ("message", "assistant", "tiny")
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 12)
    kinds, pieces = [], ""
    async with client.messages.stream(**GIVEN, **SEED) as stream:
        async for event in stream:
            kinds.append(event.type)
            if event.type == "text":
                pieces += event.text
        last = await stream.get_final_message()
    assert kinds[0] == "message_start"
    assert "content_block_start" in kinds
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert last.content[0].type == "text"
    assert last.content[0].text == pieces == block.text != ""
    assert (last.stop_reason, last.usage.output_tokens) == ("max_tokens", 12)
    assert prompt_tokens(whole) == prompt_tokens(last) > 0


async def test_models(client: AsyncAnthropic) -> None:
    [tiny] = [model async for model in client.models.list()]
    assert (tiny.id, tiny.type, tiny.max_input_tokens) == ("tiny", "model", 512)
    assert (await client.models.retrieve("tiny")).display_name == tiny.display_name != ""
    with pytest.raises(anthropic.NotFoundError, match="unheard-of"):
        await client.models.retrieve("unheard-of")


async def test_a_stop_sequence_is_named(client: AsyncAnthropic) -> None:
    free = (await client.messages.create(**GIVEN, **SEED)).content[0]
    assert free.type == "text"
    stop = free.text[5:8]
    made = await client.messages.create(**GIVEN, **SEED, stop_sequences=["never", stop])
    assert (made.stop_reason, made.stop_sequence) == ("stop_sequence", stop)
    assert made.content[0].type == "text"
    assert made.content[0].text == free.text[: free.text.index(stop)]


async def test_system_prompts_and_blocks_are_read(client: AsyncAnthropic) -> None:
    plain = await client.messages.count_tokens(model="tiny", messages=HELLO)
    system = await client.messages.count_tokens(
        model="tiny",
        messages=HELLO,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    )
    as_text = await client.messages.count_tokens(model="tiny", messages=HELLO, system="Be brief.")
    assert plain.input_tokens < system.input_tokens == as_text.input_tokens
    made = await client.messages.create(**GIVEN | {"max_tokens": 1}, system="Be brief.")
    assert prompt_tokens(made) == system.input_tokens


async def test_an_answer_that_was_begun_goes_on(client: AsyncAnthropic) -> None:
    begun = [*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "the of and"}]}]
    made = await client.messages.create(model="tiny", messages=begun, max_tokens=3)
    assert made.usage.output_tokens == 3


async def test_an_answer_follows_a_json_schema(client: AsyncAnthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["fox", "hen"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
    made = await client.messages.create(
        **GIVEN | {"max_tokens": 60},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": schema}},
    )
    assert made.content[0].type == "text"
    assert json.loads(made.content[0].text)["name"] in {"fox", "hen"}


async def test_tools_of_earlier_turns_are_read(client: AsyncAnthropic) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {"zone": "UTC"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "noon"}
    messages: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
    ]
    made = await client.messages.create(**GIVEN | {"messages": messages})
    assert made.content[0].type == "text"


async def test_errors_as_the_client_knows_them(
    client: AsyncAnthropic, http: httpx.AsyncClient
) -> None:
    async def refused(**given: Any) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(**GIVEN | given)
        return caught.value

    missing = await refused(model="unheard-of")
    assert isinstance(missing, anthropic.NotFoundError)
    body: Any = missing.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    long: list[Any] = [{"role": "user", "content": "number " * 600}]
    for stream in (False, True):
        error = await refused(messages=long, stream=stream)
        assert error.status_code == 400
        assert "prompt is too long: " in str(error)
        assert "tokens > 512 maximum" in str(error)
    assert "max_tokens" in str(await refused(max_tokens=0))
    assert "temperature" in str(await refused(extra_body={"temperature": 9}))
    odd = {"role": "user", "content": [{"type": "hologram"}]}
    assert "hologram" in str(await refused(messages=[odd]))
    picture = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    shown = {"role": "user", "content": [{"type": "image", "source": picture}]}
    assert "can't see pictures" in str(await refused(messages=[shown]))
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.count_tokens(model="unheard-of", messages=HELLO)
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    large = gzip.compress(b" " * (9 << 20))
    answer = await http.post("/v1/messages", content=large, headers=packed)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")
    answer = await http.post("/v1/messages/batches", json={})
    assert answer.json()["error"]["type"] == "not_found_error"


async def think(call: Call) -> None:
    await call.head()
    await call.event({"choices": [{"delta": {"reasoning_content": "Hm. "}}]})
    await call.event({"choices": [{"delta": {"reasoning_content": "So. "}}]})
    await call.say("Be", "cause.")
    await call.finish(usage={"prompt_tokens": 11, "completion_tokens": 4})


async def test_thoughts_are_blocks_that_come_back_and_pictures_are_seen(tmp_path: Path) -> None:
    async with serving() as stub:
        stub.script = think
        store = ModelStore(tmp_path / "models")
        store.add_remote("seer", [Upstream(stub.url, "stub")], sees=True)
        (tmp_path / "data").mkdir()
        server = await Server(tmp_path / "data", store.root, titles="off").start()
        try:
            async with AsyncAnthropic(base_url=server.origin, auth_token="none") as client:
                await think_and_see(client)
        finally:
            await server.close()
        [*_, shown] = [call.body["messages"] for call in stub.calls]
        kinds = [part["type"] for part in shown[-1]["content"]]
        assert kinds == ["text", "image_url"]


async def think_and_see(client: AsyncAnthropic) -> None:
    given: dict[str, Any] = {"model": "seer", "messages": list(HELLO), "max_tokens": 50}
    unasked = await client.messages.create(**given)
    assert [block.type for block in unasked.content] == ["text"]
    given["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    thought, text = (await client.messages.create(**given)).content
    assert thought.type == "thinking"
    assert (thought.thinking, thought.signature != "") == ("Hm. So. ", True)
    assert text.type == "text"
    assert text.text == "Because."
    async with client.messages.stream(**given) as stream:
        streamed = (await stream.get_final_message()).content
    assert [block.model_dump() for block in streamed] == [
        block.model_dump() for block in (thought, text)
    ]
    given["thinking"] = {"type": "adaptive", "display": "omitted"}
    hidden = (await client.messages.create(**given)).content[0]
    assert hidden.type == "thinking"
    assert (hidden.thinking, hidden.signature) == ("", thought.signature)
    data = base64.b64encode(encoded(kind="PNG")).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    picture = {"type": "image", "source": source}
    said = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}
    answered = {"role": "assistant", "content": [hidden.model_dump(), text.model_dump()]}
    await client.messages.create(**given | {"messages": [*HELLO, answered, said]})
