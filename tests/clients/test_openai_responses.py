"""OpenAI's own client for Python at `/v1/responses` of the real server."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.server import Server
from tests.inference.remote.stub import Call, serving
from tests.media.samples import encoded

GIVEN: dict[str, Any] = {"model": "tiny", "max_output_tokens": 12, "extra_body": {"seed": 3}}


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key="none", max_retries=0) as made:
        yield made


async def test_whole_and_streamed_responses_are_the_same(client: AsyncOpenAI) -> None:
    whole = await client.responses.create(**GIVEN, input="Hello there", metadata={"why": "test"})
    assert (whole.object, whole.status) == ("response", "incomplete")
    assert whole.metadata == {"why": "test"}
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 12
    kinds, numbers, text = [], [], ""
    async with client.responses.stream(**GIVEN, input="Hello there", store=False) as stream:
        async for event in stream:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                text += event.delta
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert numbers == list(range(len(numbers)))
    assert text == whole.output_text != ""


async def test_a_response_goes_on_from_another(client: AsyncOpenAI) -> None:
    first = await client.responses.create(**GIVEN, input="Hello there", instructions="Be brief.")
    second = await client.responses.create(
        **GIVEN, input=[{"role": "user", "content": "More"}], previous_response_id=first.id
    )
    said: list[Any] = [
        {"role": "user", "content": "Hello there"},
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"role": "user", "content": [{"type": "input_text", "text": "More"}]},
    ]
    alone = await client.responses.create(**GIVEN, input=said, store=False)
    assert second.output_text == alone.output_text != ""
    assert second.usage is not None
    assert alone.usage is not None
    assert second.usage.input_tokens == alone.usage.input_tokens
    counted = await client.responses.input_tokens.count(
        model="tiny", input="More", previous_response_id=first.id
    )
    assert counted.input_tokens == second.usage.input_tokens
    referred: list[Any] = [
        said[0],
        {"type": "item_reference", "id": first.output[0].id},
        said[-1],
    ]
    again = await client.responses.create(**GIVEN, input=referred)
    assert again.output_text == second.output_text
    listed = [item async for item in await client.responses.input_items.list(second.id)]
    assert len(listed) == 3


async def test_a_response_is_kept_read_and_deleted(client: AsyncOpenAI) -> None:
    made = await client.responses.create(**GIVEN, input="Hello there")
    found = await client.responses.retrieve(made.id)
    assert found.model_dump() == made.model_dump()
    unkept = await client.responses.create(**GIVEN, input="Hello there", store=False)
    await client.responses.delete(made.id)
    for gone in (made.id, unkept.id, "resp_unheard-of"):
        with pytest.raises(openai.NotFoundError, match=gone):
            await client.responses.retrieve(gone)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(gone)
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(**GIVEN, input="More", previous_response_id=gone)
        assert caught.value.code == "previous_response_not_found"


async def test_a_response_follows_a_json_schema(client: AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["fox", "hen"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
    made = await client.responses.create(
        model="tiny",
        input="An animal",
        max_output_tokens=60,
        text={"format": {"type": "json_schema", "name": "animal", "schema": schema}},
    )
    assert made.status == "completed"
    assert json.loads(made.output_text)["name"] in {"fox", "hen"}


async def test_logprobs(client: AsyncOpenAI) -> None:
    made = await client.responses.create(
        **GIVEN, input="Hi", top_logprobs=2, include=["message.output_text.logprobs"]
    )
    part: Any = made.output[0]
    told = part.content[0].logprobs
    assert "".join(token.token for token in told) == made.output_text
    assert all(len(token.top_logprobs) == 2 for token in told)


async def test_errors_as_the_client_knows_them(client: AsyncOpenAI) -> None:
    async def refused(**given: Any) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(**{"model": "tiny", "input": "Hi"} | given)
        return caught.value

    assert (await refused(model="unheard-of")).code == "model_not_found"
    for stream in (False, True):
        error = await refused(input="number " * 600, stream=stream)
        assert (error.status_code, error.code) == (400, "context_length_exceeded")
    for name, value in {
        "background": True,
        "conversation": "conv_1",
        "max_output_tokens": 0,
        "temperature": 9,
        "input": [],
    }.items():
        assert (await refused(**{name: value})).param == name
    odd = [{"type": "hologram", "id": "x"}]
    assert "hologram" in str(await refused(input=odd))
    missing = [{"type": "item_reference", "id": "msg_1_0"}]
    assert (await refused(input=missing)).status_code == 404


async def think(call: Call) -> None:
    await call.head()
    for part in ("Hm. ", "So. "):
        await call.event({"choices": [{"delta": {"reasoning_content": part}}]})
    await call.say("Be", "cause.")
    await call.finish(usage={"prompt_tokens": 11, "completion_tokens": 4})


async def test_thoughts_are_items_that_come_back_and_pictures_are_seen(tmp_path: Path) -> None:
    async with serving() as stub:
        stub.script = think
        store = ModelStore(tmp_path / "models")
        store.add_remote("seer", [Upstream(stub.url, "stub")], sees=True)
        (tmp_path / "data").mkdir()
        server = await Server(tmp_path / "data", store.root, titles="off").start()
        try:
            async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key="none") as client:
                await think_and_see(client)
        finally:
            await server.close()
        shown = stub.calls[-1].body["messages"]
        assert [part["type"] for part in shown[-1]["content"]] == ["text", "image_url"]


async def think_and_see(client: AsyncOpenAI) -> None:
    given: dict[str, Any] = {"model": "seer", "reasoning": {"effort": "low"}}
    made = await client.responses.create(**given, input="Why?")
    thought, answer = made.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert ([part.text for part in thought.content], thought.summary) == (["Hm. So. "], [])
    assert answer.type == "message"
    assert made.output_text == "Because."
    given["reasoning"]["summary"] = "auto"
    async with client.responses.stream(
        **given, input="Why?", include=["reasoning.encrypted_content"], store=False
    ) as stream:
        kinds = [event.type async for event in stream]
        streamed: Response = await stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds
    hidden = streamed.output[0]
    assert hidden.type == "reasoning"
    assert [part.text for part in hidden.summary] == ["Hm. So. "]
    assert hidden.encrypted_content
    data = base64.b64encode(encoded(kind="PNG")).decode()
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
    seen: list[Any] = [
        {"role": "user", "content": "Why?"},
        *[item.model_dump(exclude_none=True) for item in streamed.output],
        {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, picture]},
    ]
    await client.responses.create(**given, input=seen)
