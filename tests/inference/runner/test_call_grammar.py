"""Whatever a model would like to say, within the grammar it calls a tool by its schema."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest

from app.errors import SchemaRefused
from app.inference.runner.grammar import AnswerGrammar, Grammars
from app.inference.runner.sampling import Sampler
from app.models.parameters import Sampling
from app.models.text.call_parser import CallParser
from app.models.text.tokenizer import Tokenizer
from app.models.text.tool_formats import TOOL_FORMATS, ToolFormat
from app.models.text.tools import ToolCall, ToolCallDelta, ToolSpec, join_calls
from tests import tiny_gguf
from tests.models.conftest import make_tokenizer

CLOSED_AFTER, MAX_CLOSED = 90, 400
"""Tokens, each of which is a byte here."""
SHORT = {"type": "string", "maxLength": 5}
NODE = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/n"}}}
SCHEMAS: dict[str, Any] = {
    "no arguments": {"type": "object", "properties": {}},
    "texts": {"properties": {"a": SHORT, "b": SHORT}, "required": ["a", "b"]},
    "optional": {"properties": {"a": SHORT, "b": {"type": "boolean"}, "c": {"type": "null"}}},
    "one required": {
        "properties": {
            "a": SHORT,
            "b": {"type": "integer", "minimum": 3, "maximum": 12},
            "c": SHORT,
        },
        "required": ["b"],
    },
    "enum": {"properties": {"a": {"enum": ["x y", "<z>", 3, None]}}, "required": ["a"]},
    "const": {"properties": {"a": {"const": "k"}}, "required": ["a"]},
    "pattern": {
        "properties": {"a": {"type": "string", "pattern": "^[0-9]{2}/[a-z]$"}},
        "required": ["a"],
    },
    "list": {
        "properties": {"a": {"type": "array", "items": {"enum": ["p", "q"]}, "maxItems": 3}},
        "required": ["a"],
    },
    "nested": {
        "properties": {
            "o": {"type": "object", "properties": {"k": SHORT, "l": SHORT}, "required": ["l"]}
        },
        "required": ["o"],
    },
    "either": {"properties": {"a": {"anyOf": [{"enum": ["u"]}, {"type": "null"}]}}},
    "types": {"properties": {"a": {"type": ["boolean", "null"]}}, "required": ["a"]},
    "reference": {
        "properties": {"a": {"$ref": "#/$defs/t"}},
        "required": ["a"],
        "$defs": {"t": {"enum": ["r", "s"]}},
    },
    "property like a word of Python's": {
        "properties": {"from": {"enum": [1]}},
        "required": ["from"],
    },
}
RECURSIVE = {"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"], "$defs": {"n": NODE}}
by_name = {known.name: known for known in TOOL_FORMATS}


@functools.cache
def tokenizer(folder: Path, known: ToolFormat, *, special: bool) -> Tokenizer:
    """With the markers of a family as special tokens, or as text."""
    keys = tiny_gguf.bpe_vocabulary()
    tokens, kinds = (list(keys[f"tokenizer.ggml.{n}"]) for n in ("tokens", "token_type"))  # type: ignore[call-overload]
    if special:
        found = re.findall(r"<[^<>\s]+>|\[[A-Z_]+\]", " ".join(known.literals))
        names = sorted(set(found) - set(tokens))
        tokens, kinds = [*tokens, *names], [*kinds, *([3] * len(names))]
    keys = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    name = f"{known.name}-{special}"
    (folder / name).mkdir()
    return make_tokenizer(folder / name, "bpe", **keys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calls")


def said(tokenizer: Tokenizer, grammar: AnswerGrammar, seed: int, most: int = 100) -> str | None:
    """What a model without any sense says within the grammar; None when it finds no end."""
    random = np.random.default_rng(seed)
    sampler = Sampler(Sampling(temperature=1, seed=seed), grammar=grammar)
    ids: list[int] = []
    for _ in range(most):
        if grammar.is_over:
            return tokenizer.marked_text(ids)
        logits = random.standard_normal(tokenizer.vocab_size).astype(np.float32)
        logits[sorted(tokenizer.end_ids)] += 3
        token = sampler.choose(logits, [])
        if token in tokenizer.end_ids:
            return tokenizer.marked_text(ids)
        ids.append(token)
    return None


def parse(known: ToolFormat, tools: tuple[ToolSpec, ...], text: str) -> list[ToolCall]:
    parser = CallParser(known, tools)
    parts = [*parser.feed(text), *parser.flush()]
    assert not any(isinstance(part, str) for part in parts), text
    return list(join_calls(part for part in parts if isinstance(part, ToolCallDelta)))


TOOLS = tuple(
    ToolSpec(f"tool_{number}", "", json.dumps({"type": "object", **schema}))
    for number, schema in enumerate(SCHEMAS.values())
)
KINDS = [(known, True) for known in TOOL_FORMATS]
KINDS += [(by_name[name], False) for name in ("hermes", "gemma", "qwen3-coder", "lfm2")]


@pytest.mark.parametrize(("known", "special"), KINDS, ids=lambda one: getattr(one, "name", one))
def test_calls_without_any_sense_follow_their_schemas(
    folder: Path, known: ToolFormat, *, special: bool
) -> None:
    words = tokenizer(folder, known, special=special)
    grammars = Grammars(words)
    found = 0
    for seed in range(6):
        grammar = grammars.of_calls(known, TOOLS, known.marker, parallel=seed % 2 == 0)
        if (text := said(words, grammar, seed)) is None:
            continue
        for call in parse(known, TOOLS, known.marker + text):
            schema = next(tool.parameters for tool in TOOLS if tool.name == call.name)
            jsonschema_rs.validate(json.loads(schema), json.loads(call.arguments))
            found += 1
    assert found


@pytest.mark.parametrize("known", TOOL_FORMATS, ids=lambda known: known.name)
def test_what_templates_write_may_be_written(folder: Path, known: ToolFormat) -> None:
    words = tokenizer(folder, known, special=True)
    texts = {"type": "string"}, {"type": "array", "items": {"type": "integer"}}
    schema = {"properties": {"path": texts[0], "lines": texts[1], "text": texts[0]}}
    tools = (ToolSpec("edit", "", json.dumps(schema)), ToolSpec("stop", "", "{}"))
    arguments = {"lines": [1, -2], "path": "a/b.c", "text": 'said "x" & <y>\n\n  {z}'}
    if known.arguments == "gemma":
        arguments["text"] = "plain {z}"
    calls = [ToolCall("abcdefgh1", "edit", json.dumps(arguments))]
    calls += [ToolCall("abcdefgh2", "stop", "{}")] if known.parallel else []
    if known.id_pattern != "[A-Za-z0-9]{9}":
        calls = [ToolCall(str(n), call.name, call.arguments) for n, call in enumerate(calls)]
    ordered = {"path": 0, "lines": 1, "text": 2}
    if known.arguments != "gemma":
        given = dict(sorted(arguments.items(), key=lambda item: ordered[item[0]]))
        calls[0] = ToolCall(calls[0].id, "edit", json.dumps(given))
    text = known.write(calls)
    assert text.startswith(known.marker)
    grammar = Grammars(words).of_calls(known, tools, known.marker, parallel=True)
    assert grammar.takes(text_ids(words, text.removeprefix(known.marker))), text
    found = parse(known, tools, text)
    assert [json.loads(call.arguments) for call in found] == [
        json.loads(call.arguments) for call in calls
    ]


@pytest.mark.parametrize("name", ["hermes", "gemma", "qwen3-coder", "lfm2"])
def test_a_schema_may_refer_to_itself(folder: Path, name: str) -> None:
    known = by_name[name]
    words = tokenizer(folder, known, special=False)
    tools = (ToolSpec("f", "", json.dumps(RECURSIVE)),)
    grammar = Grammars(words).of_calls(known, tools, known.marker, parallel=False)
    texts = [said(words, grammar.copy(), seed) for seed in range(6)]
    assert any(texts)
    for text in filter(None, texts):
        (call,) = parse(known, tools, known.marker + text)
        jsonschema_rs.validate(RECURSIVE, json.loads(call.arguments))


LONG: dict[str, Any] = {
    "text": {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]},
    "list": {
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "n": {"type": "number"},
            "t": {"type": "string"},
        },
        "required": ["a", "n", "t"],
    },
    "map": {
        "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}},
        "required": ["a"],
    },
}


@pytest.mark.parametrize(("known", "special"), KINDS, ids=lambda one: getattr(one, "name", one))
def test_a_call_that_is_closed_comes_to_its_end(
    folder: Path, known: ToolFormat, *, special: bool
) -> None:
    """Wherever it was: in a text, too, in which what ends all else is text."""
    words = tokenizer(folder, known, special=special)
    ends = [text_ids(words, text) for text in known.text_ends]
    for name, schema in LONG.items():
        tools = (ToolSpec(name, "", json.dumps({"type": "object", **schema})),)
        for seed in range(2):
            random = np.random.default_rng(seed)
            grammar = Grammars(words).of_calls(known, tools, known.marker, parallel=False)
            sampler = Sampler(Sampling(temperature=1, seed=seed), grammar=grammar)
            ids: list[int] = []
            while len(ids) < MAX_CLOSED and not grammar.is_over:
                if len(ids) == CLOSED_AFTER:
                    grammar.close(ends)
                logits = random.standard_normal(words.vocab_size).astype(np.float32)
                ids.append(sampler.choose(logits, []))
                if ids[-1] in words.end_ids:
                    break
            assert len(ids) < MAX_CLOSED, words.marked_text(ids)
            text = known.marker + words.marked_text([i for i in ids if i not in words.end_ids])
            (call,) = parse(known, tools, text)
            jsonschema_rs.validate(json.loads(tools[0].parameters), json.loads(call.arguments))


def text_ids(words: Tokenizer, text: str) -> list[int]:
    ids: list[int] = []
    for part in words.split_special_tokens(text):
        ids += [part] if isinstance(part, int) else words.encode_continuation(part)
    return ids


HOSTILE: list[Any] = [
    {"properties": {"a": {"$ref": "#/$defs/nowhere"}}, "required": ["a"]},
    {"properties": {"a": {"type": "text"}}, "required": ["a"]},
    {
        "$defs": {
            f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{m}"} for m in range(20)]} for n in range(20)
        },
        "properties": {"a": {"$ref": "#/$defs/d0"}},
        "required": ["a"],
    },
    {"properties": {f"p{n}": {"enum": [f"{m}" for m in range(50)]} for n in range(500)}},
    {"properties": {"a": {"type": "string", "pattern": "(a+)+$|(?=b)"}}, "required": ["a"]},
    {"properties": {'a"b\n': {"type": "string"}, "</tool_call>": {"type": "null"}}},
    {"properties": {"a": {"type": "string", "minLength": 10**9}}},
    {"properties": {"a": {"type": "array", "minItems": 10**9}}},
    {"properties": "none", "required": 5},
    {"type": "string"},
    {"allOf": [{"$ref": "#"}]},
]


@pytest.mark.parametrize("name", ["hermes", "gemma", "qwen3-coder", "lfm2", "minicpm"])
def test_hostile_schemas_are_followed_or_refused(folder: Path, name: str) -> None:
    known = by_name[name]
    words = tokenizer(folder, known, special=False)
    refused = 0
    for schema in HOSTILE:
        tools = (ToolSpec("f", "", json.dumps(schema)),)
        try:
            grammar = Grammars(words).of_calls(known, tools, known.marker, parallel=False)
            said(words, grammar, 0, most=20)
        except SchemaRefused:
            refused += 1
    assert refused < len(HOSTILE)


def test_deep_nesting_is_refused(folder: Path) -> None:
    known = by_name["hermes"]
    words = tokenizer(folder, known, special=False)
    deep = '{"properties": {"a": ' * 20_000 + "{}" + "}}" * 20_000
    with pytest.raises(SchemaRefused):
        Grammars(words).of_calls(known, (ToolSpec("f", "", deep),), known.marker, parallel=False)
