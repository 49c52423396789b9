"""Two Wicks in a chain: the models of one are the remote models of the other."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from app.conversations.answer_state import MessageRef
from tests.application import OWN
from tests.e2e.server import Server
from tests.patience import PATIENCE, until
from tests.upstream.conftest import Fronted
from tests.upstream.front import CHAT


async def test_a_chat_over_two_wicks_is_as_over_one(
    fronted: Fronted, server: Server, http: httpx.AsyncClient
) -> None:
    front = await fronted(server)
    first = await front.ended(await front.ask("Hello there"))
    direct = await http.post(
        "/v1/chat/completions",
        json={
            "model": "tiny",
            "messages": [{"role": "user", "content": "Hello there"}],
            "temperature": 0,
            "max_tokens": 40,
        },
    )
    answer = direct.json()
    assert first.text == answer["choices"][0]["message"]["content"] != ""
    assert (first.status, first.prompt_tokens) == ("done", answer["usage"]["prompt_tokens"])
    assert first.completion_tokens == answer["usage"]["completion_tokens"]
    second = await front.ended(await front.ask("And more?", "client02"))
    assert second.status == "done"
    assert (second.prompt_tokens or 0) > (first.prompt_tokens or 0)
    await until(lambda: front.window == 512)


async def test_stop_reaches_through_both_and_the_answer_goes_on(
    fronted: Fronted, server: Server, http: httpx.AsyncClient
) -> None:
    front = await fronted(server, 400)
    answer = await front.ask("Tell me everything")
    await front.writes(answer)
    await front.here.answers.stop(1, CHAT)
    stopped = await front.ended(answer)
    assert stopped.status == "stopped"
    async with asyncio.timeout(PATIENCE):
        while "0 of" not in (await http.get("/status/figures")).text:
            await asyncio.sleep(0.01)
    await front.here.branches.continue_answer(MessageRef(1, CHAT, answer))
    await until(lambda: front.here.hub.stream(answer) is not None)
    went_on = await front.ended(answer)
    assert went_on.status == "done"
    assert went_on.text.startswith(stopped.text)
    assert len(went_on.text) > len(stopped.text)


async def test_an_upstream_that_dies_in_mid_answer_interrupts_it(
    fronted: Fronted, tmp_path_factory: pytest.TempPathFactory, tiny_store: Path
) -> None:
    own = Server(tmp_path_factory.mktemp("mortal"), tiny_store, titles="off")
    await own.start()
    try:
        front = await fronted(own, 400)
        answer = await front.ask("Tell me everything")
        await front.writes(answer)
        await own.kill()
        ended = await front.ended(answer)
        assert ended.status == "interrupted"
        assert ended.text
        failed = await front.ended(await front.ask("Are you there?", "client02"))
        assert failed.status == "failed"
        assert "Can't reach" in (failed.error or "")
    finally:
        await own.close()


async def test_programs_reach_through_both(fronted: Fronted, server: Server) -> None:
    front = await fronted(server)
    client = front.app.test_client()
    body = {
        "model": "far",
        "messages": [{"role": "user", "content": "JSON, please"}],
        "max_tokens": 60,
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"enum": ["yes", "no"]}},
        },
    }
    reply = await client.post("/v1/chat/completions", json=body, headers=OWN)
    assert reply.status_code == 200, await reply.get_data(as_text=True)
    choice = (await reply.get_json())["choices"][0]
    assert json.loads(choice["message"]["content"]) in {"yes", "no"}
    assert choice["logprobs"]["content"]
    assert len(choice["logprobs"]["content"][0]["top_logprobs"]) == 2
    body = {"model": "far", "prompt": "Once upon", "max_tokens": 5, "logprobs": 2, "seed": 1}
    reply = await client.post("/v1/completions", json=body, headers=OWN)
    assert reply.status_code == 200, await reply.get_data(as_text=True)
    text = await reply.get_json()
    assert text["usage"]["completion_tokens"] == len(text["choices"][0]["logprobs"]["tokens"]) <= 5
    assert len(text["choices"][0]["logprobs"]["top_logprobs"][0]) == 2
    body = {"model": "far", "messages": [{"role": "user", "content": "word " * 3000}]}
    reply = await client.post("/v1/chat/completions", json=body, headers=OWN)
    assert reply.status_code == 400
    assert (await reply.get_json())["error"]["code"] == "context_length_exceeded"
