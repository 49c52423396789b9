"""The API with the real model: what it says there is what it would say on the page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from tests.e2e.server import Server

MODEL = "smollm2-135m"


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{server.origin}/v1", api_key="none", max_retries=0, timeout=300
    ) as made:
        yield made


async def test_an_api_conversation_that_the_program_keeps_itself(client: AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
    # At temperature 0 the answer would be read again, so that none depends on what was cached.
    given: dict[str, Any] = {"model": MODEL, "max_tokens": 24, "temperature": 0.05, "seed": 1}
    first = await client.chat.completions.create(messages=messages, **given)
    assert "Paris" in (first.choices[0].message.content or "")
    assert first.usage is not None
    messages.append({"role": "assistant", "content": first.choices[0].message.content})
    messages.append({"role": "user", "content": "And of Italy?"})
    text, usage = "", None
    stream = await client.chat.completions.create(
        messages=messages, **given, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    assert text
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    # Everything up to the second question was read before.
    read = first.usage.prompt_tokens + first.usage.completion_tokens
    assert (usage.prompt_tokens_details.cached_tokens or 0) >= read - 1


async def test_embeddings_of_similar_texts_are_near_each_other(client: AsyncOpenAI) -> None:
    texts = [
        "The cat sleeps on the sofa.",
        "A kitten is napping on the couch.",
        "Shares dropped a lot on Wall Street.",
        "The stock market fell sharply today.",
    ]
    made = await client.embeddings.create(model=MODEL, input=texts)
    cats, kittens, shares, stocks = (np.array(one.embedding) for one in made.data)
    assert cats @ kittens > cats @ shares
    assert shares @ stocks > shares @ kittens


async def test_an_api_answer_follows_a_json_schema(client: AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "country": {"type": "string", "maxLength": 20},
        },
        "required": ["city", "country"],
        "additionalProperties": False,
    }
    answer = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Name the capital of France, as JSON."}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "capital", "schema": schema},
        },
        max_tokens=80,
        temperature=0,
    )
    assert answer.choices[0].finish_reason == "stop"
    assert set(json.loads(answer.choices[0].message.content or "")) == {"city", "country"}
