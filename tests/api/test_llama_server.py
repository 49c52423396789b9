"""What programs for llama-server ask beside OpenAI's protocol."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.server import Server

TEXT = "Hello there 狐, one two"


async def post(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_text_becomes_tokens_and_a_text_again(http: httpx.AsyncClient) -> None:
    made = await post(http, "/tokenize", {"content": TEXT})
    assert made["count"] == len(made["tokens"]) > 3
    assert made["max_model_len"] == 512
    assert (await post(http, "/detokenize", {"tokens": made["tokens"]}))["content"] == TEXT
    pieces = (await post(http, "/tokenize", {"content": TEXT, "with_pieces": True}))["tokens"]
    assert [one["id"] for one in pieces] == made["tokens"]
    data = [one["piece"] for one in pieces]
    assert b"".join(d.encode() if isinstance(d, str) else bytes(d) for d in data).decode() == TEXT
    same = await post(http, "/tokenize", {"model": "tiny", "prompt": TEXT})
    assert same["tokens"] == made["tokens"]


async def test_names_of_special_tokens_are_read_as_such_unless_told_otherwise(
    http: httpx.AsyncClient,
) -> None:
    marked = {"content": "<|im_start|>user"}
    parsed = (await post(http, "/tokenize", marked))["tokens"]
    plain = (await post(http, "/tokenize", marked | {"parse_special": False}))["tokens"]
    assert len(parsed) < len(plain)
    assert (await post(http, "/detokenize", {"tokens": parsed}))["content"] == marked["content"]


async def test_the_template_shows_the_prompt_that_an_answer_gets(http: httpx.AsyncClient) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    prompt = (await post(http, "/apply-template", {"messages": messages}))["prompt"]
    assert "<|im_start|>user\nHi<|im_end|>" in prompt
    tokens = await post(http, "/tokenize", {"content": prompt})
    body = {"model": "tiny", "messages": messages, "max_tokens": 1}
    answer = await post(http, "/v1/chat/completions", body)
    assert answer["usage"]["prompt_tokens"] == tokens["count"]


async def test_properties_and_slots(http: httpx.AsyncClient, server: Server) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    await post(http, "/v1/chat/completions", body)
    props = (await http.get("/props")).json()
    assert props["model_alias"] == "tiny"
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert "im_start" in props["chat_template"]
    assert str(server.folder) not in str(props)
    slots = (await http.get("/slots?model=tiny")).json()
    assert len(slots) == props["total_slots"]
    assert {slot["model"] for slot in slots} == {"tiny"}
    assert (await http.get("/slots?model=other")).json() == []


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/tokenize", {}, 400, "missing"),
        ("/tokenize", {"content": "x", "model": "unheard-of"}, 404, "unheard-of"),
        ("/detokenize", {"tokens": [2**30]}, 400, "Token ids of this model are"),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
        ("/apply-template", {"messages": [{"role": "nobody", "content": ""}]}, 400, "nobody"),
    ],
)
async def test_what_cannot_be_done_is_said(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = await http.post(path, json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


async def test_a_text_in_the_middle_is_filled_where_the_model_can(
    http: httpx.AsyncClient,
) -> None:
    body = {"model": "tiny", "prompt": "def f(", "suffix": "return 1"}
    answer = await http.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert "does not support insert" in answer.json()["error"]["message"]
