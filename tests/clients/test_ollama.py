"""Ollama's own client for Python against the real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import ollama
import pytest
from ollama import AsyncClient

from tests.e2e.server import Server

HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.origin) as made:
        yield made


async def test_models(client: AsyncClient) -> None:
    [tiny] = (await client.list()).models
    assert tiny.model == "tiny:latest"
    assert tiny.details is not None
    assert tiny.details.format == "gguf"
    shown = await client.show("tiny:latest")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 512
    with pytest.raises(ollama.ResponseError) as caught:
        await client.show("unheard-of")
    assert caught.value.status_code == 404


async def test_a_chat_whole_and_streamed(client: AsyncClient) -> None:
    options = {"num_predict": 12, "seed": 3, "num_ctx": 256, "repeat_last_n": -1, "mirostat": 0}
    whole = await client.chat("tiny:latest", HELLO, options=options, keep_alive="5m")
    assert whole.done
    assert whole.done_reason == "length"
    assert whole.eval_count == 12
    assert whole.prompt_eval_count
    assert whole.load_duration is not None
    assert whole.total_duration is not None
    made = (whole.prompt_eval_duration or 0) + (whole.eval_duration or 0)
    assert 0 < made <= made + whole.load_duration <= whole.total_duration + 3
    text = ""
    async for part in await client.chat("tiny", HELLO, options=options, stream=True):
        text += part.message.content or ""
        last = part
    assert text == whole.message.content
    assert last.done
    assert last.eval_count == 12


async def test_generate_with_and_without_a_template(client: AsyncClient) -> None:
    options = {"num_predict": 4, "temperature": 0}
    whole = await client.generate("tiny", "Hello", system="Be brief.", options=options)
    raw = await client.generate("tiny", "Hello", raw=True, options=options)
    assert whole.prompt_eval_count is not None
    assert raw.prompt_eval_count is not None
    assert raw.prompt_eval_count < whole.prompt_eval_count
    parts = [
        part.response or ""
        async for part in await client.generate(
            "tiny", "Hello", system="Be brief.", options=options, stream=True
        )
    ]
    assert "".join(parts) == whole.response


async def test_json_and_logprobs(client: AsyncClient) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"enum": [1, 2, 3]}, "is_fox": {"type": "boolean"}},
        "required": ["age", "is_fox"],
        "additionalProperties": False,
    }
    answer = await client.chat("tiny", HELLO, format=schema, options={"num_predict": 60})
    said = json.loads(answer.message.content or "")
    assert set(said) == {"age", "is_fox"}
    told = await client.generate("tiny", "Hi", logprobs=True, top_logprobs=2)
    assert told.logprobs is not None
    assert len(told.logprobs) == told.eval_count
    assert len(told.logprobs[0].top_logprobs or ()) == 2


async def test_models_are_loaded_and_unloaded_by_asking_nothing(client: AsyncClient) -> None:
    await client.generate("tiny", "", keep_alive=0)
    assert (await client.generate("tiny", "")).done_reason == "load"
    [running] = (await client.ps()).models
    assert running.model == "tiny:latest"
    assert running.context_length == 512
    assert (await client.generate("tiny", "", keep_alive=0)).done_reason == "unload"
    assert (await client.ps()).models == []


async def test_embeddings(client: AsyncClient) -> None:
    made = await client.embed("tiny", ["a fox", "number " * 600])
    assert [len(vector) for vector in made.embeddings] == [64, 64]
    old = await client.embeddings("tiny", "a fox")
    assert old.embedding == pytest.approx(made.embeddings[0], abs=1e-5)


async def test_requests_that_cannot_be_answered_get_a_sentence(
    client: AsyncClient, http: httpx.AsyncClient
) -> None:
    with pytest.raises(ollama.ResponseError, match="unheard-of"):
        await client.chat("unheard-of", HELLO)
    with pytest.raises(ollama.ResponseError, match="tools"):
        await client.chat("tiny", HELLO, tools=[{"type": "function"}])
    with pytest.raises(ollama.ResponseError, match="maximum context length is 512 tokens"):
        await client.embed("tiny", "number " * 600, truncate=False)
    answer = await http.post("/api/chat", json={"model": "tiny", "messages": "x"})
    assert answer.status_code == 400
    assert "messages" in answer.json()["error"]
    assert (await http.get("/api/version")).json()["version"]
    answer = await http.post("/api/pull", json={"model": "x"})
    assert answer.status_code == 404
    assert "wick models" in answer.json()["error"]
    answer = await http.get("/v1/nothing")
    assert "/docs/api" in answer.json()["error"]["message"]
