"""OpenAI's own client for Python against the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

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
