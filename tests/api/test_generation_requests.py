"""What other servers take in a request for an answer, and clients therefore send."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

HELLO = {"role": "user", "content": "Hello there"}
CHAT: dict[str, Any] = {"model": "tiny", "messages": [HELLO], "max_tokens": 4}
TEXT: dict[str, Any] = {"model": "tiny", "prompt": "Hello there", "max_tokens": 4}
CHATS, TEXTS = "/v1/chat/completions", "/v1/completions"
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


async def given(http: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(http: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return error if isinstance(error, dict) else {"message": error}


# No limit.


async def test_minus_one_means_no_limit(http: httpx.AsyncClient) -> None:
    stop = {"stop": ["e"], "temperature": 0}  # the tiny model never ends by itself
    for body in (CHAT, TEXT):
        path = CHATS if body is CHAT else TEXTS
        assert await given(http, path, body | stop | {"max_tokens": -1, "top_k": -1, "seed": -1})
    options = {"num_ctx": -1, "num_predict": -2, "top_k": -1, "seed": -1, **stop}
    made = await given(http, "/api/chat", CHAT | {"stream": False, "options": options})
    assert made["done_reason"] == "stop"


async def test_max_tokens_of_zero_needs_echo(http: httpx.AsyncClient) -> None:
    made = await given(http, TEXTS, TEXT | {"max_tokens": 0, "echo": True})
    assert made["choices"][0]["text"] == "Hello there"
    assert made["choices"][0]["finish_reason"] == "length"
    assert made["usage"]["completion_tokens"] == 0
    assert (await refused(http, TEXTS, TEXT | {"max_tokens": 0}))["param"] == "max_tokens"
    assert (await refused(http, CHATS, CHAT | {"max_tokens": 0}))["param"] == "max_tokens"


# Prompts of token ids, and prompts that are echoed.


async def test_a_prompt_of_token_ids_is_read_as_its_text(http: httpx.AsyncClient) -> None:
    ids = await ids_of(http, "Hello there")
    greedy = {"temperature": 0, "max_tokens": 8}
    text = await given(http, TEXTS, TEXT | greedy)
    for prompt in [ids, [ids], [float(index) for index in ids]]:
        made = await given(http, TEXTS, TEXT | greedy | {"prompt": prompt})
        assert made["choices"][0]["text"] == text["choices"][0]["text"]
        assert made["usage"]["prompt_tokens"] == len(ids)
    both = await given(http, TEXTS, TEXT | greedy | {"prompt": [ids, ids[:1]], "echo": True})
    assert both["choices"][0]["text"] == "Hello there" + text["choices"][0]["text"]
    assert both["choices"][0]["logprobs"] is None
    wrong = await refused(http, TEXTS, TEXT | {"prompt": [1, 10**6]})
    assert "1000000" in wrong["message"]
    wrongs: list[Any] = [[], [[]], ["a", 1], [1, "a"], [[1], "a", 2], [True], [-1]]
    for prompt in wrongs:
        assert "prompt" in (await refused(http, TEXTS, TEXT | {"prompt": prompt}))["param"]


async def ids_of(http: httpx.AsyncClient, text: str) -> list[int]:
    """From an answer of Ollama's protocol, whose context begins with the prompt."""
    raw = await given(http, TEXTS, TEXT | {"prompt": text, "max_tokens": 0, "echo": True})
    count = raw["usage"]["prompt_tokens"]
    made = await given(http, "/api/generate", {"model": "tiny", "prompt": text, "stream": False})
    # <|im_start|>user\nHello there<|im_end|>\n<|im_start|>assistant\n
    opening = await given(http, "/api/generate", {"model": "tiny", "prompt": "?", "stream": False})
    whole, other = made["context"], opening["context"]
    start = next(i for i, (one, two) in enumerate(zip(whole, other, strict=False)) if one != two)
    found: list[int] = whole[start : start + count]
    return found


async def test_a_request_with_many_prompts(http: httpx.AsyncClient) -> None:
    texts = [f"{number} " for number in range(40)]
    made = await given(http, TEXTS, TEXT | {"prompt": texts, "max_tokens": 1, "echo": True})
    assert [choice["index"] for choice in made["choices"]] == list(range(40))
    for choice, text in zip(made["choices"], texts, strict=True):
        assert choice["text"].startswith(text)
    many = TEXT | {"prompt": ["x"] * 2049}
    assert "2,048" in (await refused(http, TEXTS, many))["message"]


async def test_echo_returns_the_log_probabilities_of_the_prompt(http: httpx.AsyncClient) -> None:
    """As evaluation harnesses ask for it."""
    body = TEXT | {"echo": True, "logprobs": 2, "max_tokens": 1, "temperature": 0}
    text = "Water is what they call the day " * 12  # more than one slice
    made = await given(http, TEXTS, body | {"prompt": text})
    [choice] = made["choices"]
    found = choice["logprobs"]
    count = made["usage"]["prompt_tokens"]
    assert count > 64
    assert len(found["tokens"]) == len(found["token_logprobs"]) == count + 1
    assert "".join(found["tokens"]) == choice["text"]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    assert all(value < 0 for value in found["token_logprobs"][1:])
    assert found["text_offset"][1] == len(found["tokens"][0])
    shorter = text[: found["text_offset"][count - 1]]
    # The last token of the prompt is as likely as it is for an answer to the rest.
    made = await given(http, TEXTS, body | {"prompt": shorter, "logprobs": 5})
    [best] = [made["choices"][0]["logprobs"]["token_logprobs"][-1]]
    assert best >= found["token_logprobs"][count - 1]
    again = await given(http, TEXTS, body | {"prompt": text})
    assert again["choices"][0]["logprobs"] == found  # nothing of it came from a cache
    nothing = await given(http, TEXTS, body | {"prompt": text, "max_tokens": 0})
    assert nothing["choices"][0]["logprobs"]["token_logprobs"] == found["token_logprobs"][:-1]


async def test_a_stream_has_the_log_probabilities_of_the_prompt(http: httpx.AsyncClient) -> None:
    body = TEXT | {"echo": True, "logprobs": 1, "max_tokens": 2, "temperature": 0}
    whole = (await given(http, TEXTS, body))["choices"][0]
    answer = await http.post(TEXTS, json=body | {"stream": True})
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if "{" in line]
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    for name in ("tokens", "token_logprobs", "text_offset"):
        found = [value for c in choices if c["logprobs"] for value in c["logprobs"][name]]
        assert found == whole["logprobs"][name]


async def test_best_of_returns_the_likeliest_answers(http: httpx.AsyncClient) -> None:
    made = await given(http, TEXTS, TEXT | {"best_of": 10, "n": 2, "seed": 1, "logprobs": 0})
    means = [
        sum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["tokens"]) for c in made["choices"]
    ]
    assert means == sorted(means, reverse=True)
    assert [choice["index"] for choice in made["choices"]] == [0, 1]
    assert made["usage"]["completion_tokens"] == 40
    assert (await refused(http, TEXTS, TEXT | {"best_of": 1, "n": 2}))["param"] == "best_of"
    assert (await refused(http, TEXTS, TEXT | {"best_of": 2, "stream": True}))["param"] == "best_of"


async def test_a_suffix_needs_a_model_made_for_filling_in(http: httpx.AsyncClient) -> None:
    for path, more in ((TEXTS, {}), ("/api/generate", {"stream": False})):
        wrong = await refused(http, path, TEXT | more | {"suffix": "end"})
        assert "does not support insert" in wrong["message"]


# Prompts that are too long.


async def test_the_error_for_a_long_prompt_has_the_words_that_clients_look_for(
    http: httpx.AsyncClient,
) -> None:
    long = "water " * 700
    for path, body, param in (
        (CHATS, {"messages": [{"role": "user", "content": long}]}, "messages"),
        (TEXTS, {"prompt": long}, "prompt"),
        ("/v1/embeddings", {"input": long}, "input"),
    ):
        for stream in (False, True):
            error = await refused(http, path, {"model": "tiny", "stream": stream, **body})
            assert (error["code"], error["param"]) == ("context_length_exceeded", param)
            opening = "This model's maximum context length is 512 tokens. However, "
            assert error["message"].startswith(opening)


async def test_ollama_truncates_long_prompts_unless_truncate_is_false(
    http: httpx.AsyncClient,
) -> None:
    long = {"model": "tiny", "stream": False, "options": {"num_predict": 4}}
    words = "first " + "water " * 700 + "last"
    chat = {"messages": [{"role": "system", "content": "Be kind."}, HELLO | {"content": words}]}
    for path, body in (
        ("/api/chat", chat),
        ("/api/generate", {"prompt": words}),
        ("/api/generate", {"prompt": words, "raw": True}),
    ):
        made = await given(http, path, long | body)
        assert 200 < made["prompt_eval_count"] < 512
        error = await refused(http, path, long | body | {"truncate": False})
        assert "maximum context length is 512 tokens" in error["message"]


# Ollama's own.


async def test_ollamas_context_continues_an_answer(http: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "stream": False, "options": {"num_predict": 4, "temperature": 0}}
    first = await given(http, "/api/generate", body | {"prompt": "Hello"})
    assert len(first["context"]) == first["prompt_eval_count"] + 4
    second = body | {"prompt": "And then?", "context": first["context"]}
    made = await given(http, "/api/generate", second)
    assert made["context"][: len(first["context"])] == first["context"]
    assert made["prompt_eval_count"] > len(first["context"])
    answer = await http.post("/api/generate", json=second | {"stream": True})
    last = json.loads(answer.text.splitlines()[-1])
    assert last["context"] == made["context"]
    assert "raw" in (await refused(http, "/api/generate", second | {"raw": True}))["message"]
    wrong = await refused(http, "/api/generate", second | {"context": [10**6]})
    assert "1000000" in wrong["message"]
    wrong = await refused(
        http, "/api/generate", body | {"prompt": "x", "template": "{{ .Prompt }}"}
    )
    assert "raw" in wrong["message"]
    raw = await given(http, "/api/generate", body | {"prompt": "Hello", "raw": True})
    assert "context" not in raw


async def test_ollamas_logprobs_have_the_bytes_of_tokens(http: httpx.AsyncClient) -> None:
    body = CHAT | {"stream": False, "logprobs": True, "top_logprobs": 1}
    made = await given(http, "/api/chat", body | {"options": {"num_predict": 2}})
    for token in made["logprobs"]:
        for one in (token, *token["top_logprobs"]):
            assert bytes(one["bytes"]).decode("utf-8", "replace") == one["token"]


# Turns.


async def test_consecutive_turns_of_a_role_are_merged(http: httpx.AsyncClient) -> None:
    def chat(*texts: str) -> dict[str, Any]:
        return CHAT | {"messages": [HELLO | {"content": text} for text in texts]}

    for path in (CHATS, "/api/chat"):
        one = await http.post(path, json=chat("Hello\n\nthere") | {"stream": False})
        two = await http.post(path, json=chat("Hello", "there") | {"stream": False})
        counts = [
            body.get("prompt_eval_count") or body["usage"]["prompt_tokens"]
            for body in (one.json(), two.json())
        ]
        assert counts[0] == counts[1]
    first = {"role": "assistant", "content": "Hi, what is it?"}
    await given(http, CHATS, CHAT | {"messages": [first, HELLO]})


async def test_two_assistant_messages_at_the_end_are_refused(http: httpx.AsyncClient) -> None:
    said = {"role": "assistant", "content": "It is"}
    for path in (CHATS, "/api/chat"):
        error = await refused(http, path, CHAT | {"messages": [HELLO, said, said]})
        assert "last two messages" in error["message"]


async def test_results_of_tools_are_read_as_text(http: httpx.AsyncClient) -> None:
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "look", "arguments": '{"at":"sky"}'},
    }
    asks = {"role": "assistant", "content": None, "tool_calls": [call]}
    says = {"role": "tool", "tool_call_id": "1", "content": "It is blue."}
    bare = await given(http, CHATS, CHAT)
    for more in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        made = await given(http, CHATS, CHAT | {"messages": [HELLO, asks, says]} | more)
        read = made["usage"]["prompt_tokens"] - bare["usage"]["prompt_tokens"]
        assert read > 30  # the call and what came of it
    ours = {"function": {"name": "look", "arguments": {"at": "sky"}}}
    turns = [HELLO, asks | {"content": "", "tool_calls": [ours]}, says | {"tool_name": "look"}]
    options = {"stream": False, "options": {"num_predict": 2}}
    made_there = await given(http, "/api/chat", {"model": "tiny", "messages": turns, **options})
    assert abs(made_there["prompt_eval_count"] - made["usage"]["prompt_tokens"]) < 3
    error = await refused(http, CHATS, CHAT | {"functions": [{"name": "look"}]})
    assert error["code"] == "unsupported_parameter"


# What an answer has to follow.


@pytest.mark.parametrize("path", [CHATS, TEXTS])
async def test_every_way_to_request_a_schema_or_a_grammar(
    http: httpx.AsyncClient, path: str
) -> None:
    schema = {"enum": ["yes", "no"]}
    body = (CHAT if path == CHATS else TEXT) | {"max_tokens": 20}
    for way in (
        {"response_format": {"type": "json_object", "schema": schema}},
        {"response_format": {"type": "json_schema", "schema": schema}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        {"json_schema": schema},
        {"grammar": 'root ::= "\\"" ("yes" | "no") "\\""'},
        {"grammar": 'start: /"(yes|no)"/'},
    ):
        [choice] = (await given(http, path, body | way))["choices"]
        said = choice["message"]["content"] if path == CHATS else choice["text"]
        assert said in {'"yes"', '"no"'}, way
    both = {"json_schema": schema, "grammar": 'root ::= "a"'}
    assert (await refused(http, path, body | both))["param"] == "grammar"


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ({"json_schema": {"$ref": "#"}}, "it refers to itself without an end"),
        ({"json_schema": {"$ref": "#/x"}}, "its $ref leads to “/x”, which is not in it"),
        ({"json_schema": {"type": "strange"}}, "there is no type “strange”"),
        ({"json_schema": {"type": "string", "pattern": "("}}, "a pattern in it is not valid"),
        ({"json_schema": {"enum": []}}, "it leaves nothing to choose from"),
        ({"json_schema": {"not": {}}}, "it uses not, which cannot be followed"),
        ({"json_schema": {"type": "integer", "minimum": 5, "maximum": 3}}, "its minimum (5) is"),
        ({"grammar": 'root ::= "a'}, "line 1 of it cannot be read"),
        ({"grammar": "root ::= b"}, "it has no rule “b”"),
        ({"grammar": 'b ::= "c"'}, "it has no rule “root” or “start”"),
    ],
)
async def test_the_error_for_a_wrong_schema_says_why(
    http: httpx.AsyncClient, way: dict[str, Any], why: str
) -> None:
    error = await refused(http, CHATS, CHAT | way)
    assert why in error["message"]
    assert error["message"].startswith("Answers cannot be made to follow this ")


# Fields that contradict each other.


async def test_contradictory_fields_are_refused(http: httpx.AsyncClient) -> None:
    for path, body in ((CHATS, CHAT), (TEXTS, TEXT)):
        error = await refused(http, path, body | {"logit_bias": {"999999": 1}})
        assert "999999" in error["message"]
        options = {"stream_options": {"include_usage": True}}
        assert (await refused(http, path, body | options))["param"] == "stream_options"
    assert (await refused(http, CHATS, CHAT | {"top_logprobs": 2}))["param"] == "top_logprobs"


# Embeddings.


async def test_embeddings_of_ids_and_of_fewer_dimensions(http: httpx.AsyncClient) -> None:
    path, text = "/v1/embeddings", "Hello there"
    whole = (await given(http, path, {"model": "tiny", "input": text}))["data"][0]["embedding"]
    ids = await ids_of(http, text)
    for body, count in ((ids, 1), ([ids, ids], 2)):
        data = (await given(http, path, {"model": "tiny", "input": body}))["data"]
        assert len(data) == count
        assert data[-1]["embedding"] == pytest.approx(whole, abs=1e-5)
    short = {"model": "tiny", "input": text, "dimensions": 16}
    [vector] = (await given(http, "/api/embed", short))["embeddings"]
    [data] = (await given(http, path, short))["data"]
    assert data["embedding"] == pytest.approx(vector)
    assert len(vector) == 16
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)
    assert vector[0] * whole[1] == pytest.approx(vector[1] * whole[0], abs=1e-4)
    for place in (path, "/api/embed"):
        assert "64" in (await refused(http, place, short | {"dimensions": 65}))["message"]


async def test_embeddings_of_empty_input(http: httpx.AsyncClient) -> None:
    assert (
        "empty"
        in (await refused(http, "/v1/embeddings", {"model": "tiny", "input": []}))["message"]
    )
    nothings: list[Any] = [[], ""]
    for nothing in nothings:
        made = await given(http, "/api/embed", {"model": "tiny", "input": nothing})
        assert made["embeddings"] == []
    assert await given(http, "/api/embeddings", {"model": "tiny", "prompt": ""}) == {
        "embedding": []
    }
