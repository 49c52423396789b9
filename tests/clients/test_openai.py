"""OpenAI's own client for Python against the real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionTokenLogprob

from tests.e2e.server import Server

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key="none", max_retries=0) as made:
        yield made


async def test_models(client: AsyncOpenAI) -> None:
    models = (await client.models.list()).data
    assert [model.id for model in models] == ["tiny"]
    assert (await client.models.retrieve("tiny")).owned_by == "wick"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("unheard-of")
    assert caught.value.code == "model_not_found"


async def test_whole_and_streamed_answers_are_the_same(client: AsyncOpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 12, "seed": 3}
    whole = await client.chat.completions.create(**given)
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12
    text, usage, reason = "", None, None
    stream = await client.chat.completions.create(
        **given, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content
    assert reason == "length"
    assert usage is not None
    assert usage.completion_tokens == 12


async def test_a_long_chat_is_read_from_the_cache(client: AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "system", "content": "Be brief, and count. " * 3}, *HELLO]
    cached = []
    for _ in range(3):
        answer = await client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=8, seed=1
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        cached.append((answer.usage.prompt_tokens_details.cached_tokens, answer.usage))
        messages += [{"role": "assistant", "content": answer.choices[0].message.content}, *HELLO]
    for (_, before), (tokens, usage) in pairwise(cached):
        assert tokens is not None
        assert tokens >= before.prompt_tokens + before.completion_tokens - 1
        assert tokens < usage.prompt_tokens


async def test_several_answers_that_differ(client: AsyncOpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 6, "seed": 3, "n": 3}
    whole = await client.chat.completions.create(**given, temperature=1.5)
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 18
    pieces = ["", "", ""]
    async for chunk in await client.chat.completions.create(**given, temperature=1.5, stream=True):
        for choice in chunk.choices:
            pieces[choice.index] += choice.delta.content or ""
    assert pieces == texts


async def test_stop_strings_and_logit_biases_take_effect(client: AsyncOpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 20, "seed": 5}
    free = (await client.chat.completions.create(**given)).choices[0].message.content
    assert free
    stopped = await client.chat.completions.create(**given, stop=free[5:8])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == free[: free.index(free[5:8])]
    biased = await client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=5, logit_bias={"40": 100}, temperature=0
    )
    text = biased.choices[0].message.content
    assert text
    assert len(set(text)) == 1
    penalised = await client.chat.completions.create(
        model="tiny",
        messages=HELLO,
        max_tokens=5,
        logit_bias={"40": 50},
        presence_penalty=2,
        frequency_penalty=2,
        temperature=0,
    )
    assert penalised.choices[0].message.content == text  # 50 outweighs the penalties


async def test_logprobs(client: AsyncOpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 5, "temperature": 0}
    answer = await client.chat.completions.create(**given, logprobs=True, top_logprobs=3)
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert "".join(t.token for t in told.content) == answer.choices[0].message.content
    for token in told.content:
        assert token.logprob <= token.top_logprobs[0].logprob <= 0
        assert len(token.top_logprobs) == 3
    streamed: list[ChatCompletionTokenLogprob] = []
    stream = await client.chat.completions.create(
        **given, logprobs=True, top_logprobs=3, stream=True
    )
    async for chunk in stream:
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content or []
    assert [t.token for t in streamed] == [t.token for t in told.content]
    old = await client.completions.create(model="tiny", prompt="Hi", max_tokens=4, logprobs=2)
    assert old.choices[0].logprobs is not None
    assert len(old.choices[0].logprobs.tokens or ()) == 4


async def test_an_answer_follows_a_json_schema(client: AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"enum": ["fox", "hen"]},
            "legs": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "legs"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema}}
    for seed in range(3):
        answer = await client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=60, seed=seed, response_format=wanted
        )
        assert answer.choices[0].finish_reason == "stop"
        said = json.loads(answer.choices[0].message.content or "")
        assert said["name"] in {"fox", "hen"}
        assert isinstance(said["legs"], int)
    wanted["json_schema"]["schema"] = {"type": "nonsense"}
    with pytest.raises(openai.BadRequestError, match="nonsense"):
        await client.chat.completions.create(
            model="tiny", messages=HELLO, response_format=wanted, stream=True
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stop", ["x" * 501]),
        ("logit_bias", {str(token): 1 for token in range(1025)}),
        (
            "response_format",
            {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"enum": ["x" * 70_000]}},
            },
        ),
    ],
    ids=["stop", "bias", "schema"],
)
async def test_options_that_cost_at_every_token_are_bounded(
    client: AsyncOpenAI, field: str, value: Any
) -> None:
    with pytest.raises(openai.BadRequestError, match=r"at most") as refused:
        await client.chat.completions.create(
            model="tiny", messages=HELLO, extra_body={field: value}
        )
    assert refused.value.param == field


async def test_text_goes_on_without_a_template(client: AsyncOpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "max_tokens": 6, "seed": 1}
    prompts = ["One", "Two or three"]
    whole = await client.completions.create(**given, prompt=prompts, n=2, echo=True)
    assert [choice.text[:3] for choice in whole.choices] == ["One", "One", "Two", "Two"]
    assert len({choice.text for choice in whole.choices}) == 4
    alone = [await client.completions.create(**given, prompt=prompt) for prompt in prompts]
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone if one.usage)
    assert whole.usage.completion_tokens == 24
    text = ""
    async for chunk in await client.completions.create(**given, prompt="One", stream=True):
        text += chunk.choices[0].text
    assert f"One{text}" == whole.choices[0].text


async def test_an_answer_that_was_begun_goes_on(client: AsyncOpenAI) -> None:
    begun: list[Any] = [*HELLO, {"role": "assistant", "content": "the of and"}]
    answer = await client.chat.completions.create(model="tiny", messages=begun, max_tokens=3)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert not (answer.choices[0].message.content or "").startswith("the of and")


async def test_messages_in_parts_and_roles_of_today(client: AsyncOpenAI) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "One"}] * 2,
        },
    ]
    answer = await client.chat.completions.create(
        model="tiny:latest",
        messages=messages,
        max_completion_tokens=2,
        extra_body={"top_k": 40.0, "seed": "1"},  # as languages without whole numbers send them
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2
    messages[1]["content"] = [{"type": "image_url", "image_url": {"url": "data:,x"}}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="tiny", messages=messages)
    assert caught.value.param == "messages[1].content[0]"


async def test_errors_as_the_client_knows_them(client: AsyncOpenAI) -> None:
    async def refused(**given: Any) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**{"model": "tiny", "messages": HELLO} | given)
        return caught.value

    assert (await refused(model="unheard-of")).code == "model_not_found"
    long: list[Any] = [{"role": "user", "content": "number " * 600}]
    for stream in (False, True):
        error = await refused(messages=long, stream=stream)
        assert (error.status_code, error.code) == (400, "context_length_exceeded")
    assert (await refused(temperature=9)).param == "temperature"
    assert (await refused(messages=[])).param == "messages"
    assert (await refused(seed=1.5)).param == "seed"
    assert (await refused(tools=[{"type": "function"}])).param == "tools[0]"
    assert (await refused(logit_bias={"x": 1})).param == "logit_bias"
    assert (await refused(messages=[{"role": "nobody", "content": ""}])).status_code == 400
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model="tiny", input=["a fox", "number " * 600])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    with pytest.raises(openai.BadRequestError, match="64 dimensions"):
        await client.embeddings.create(model="tiny", input="a fox", dimensions=65)


async def test_embeddings(client: AsyncOpenAI) -> None:
    texts = ["a fox", "a hen", "a fox", *(f"number {count}" for count in range(6))]
    made = await client.embeddings.create(model="tiny", input=texts)  # as base64
    assert [one.index for one in made.data] == list(range(9))
    vectors = np.array([one.embedding for one in made.data])
    assert vectors.shape == (9, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-5)
    assert float(vectors[0] @ vectors[1]) < 0.999
    plain = await client.embeddings.create(model="tiny", input="a fox", encoding_format="float")
    np.testing.assert_allclose(plain.data[0].embedding, vectors[0], atol=1e-5)
    assert made.usage.prompt_tokens > plain.usage.prompt_tokens > 0
