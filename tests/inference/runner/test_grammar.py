"""Answers that follow a JSON schema, whatever the model would like to say."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app.errors import SchemaRefused
from app.inference.runner.grammar import AnswerGrammar, Grammars
from app.inference.runner.sampling import Sampler
from app.models.parameters import Sampling
from app.models.text.tokenizer import Tokenizer
from tests.inference.tiny import tiny_model
from tests.tiny_gguf import Flavour

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": "array", "items": {"enum": ["fox", "hen, and 'cock'"]}, "minItems": 2, "maxItems": 4},
    {"type": "string", "maxLength": 12},
    {"anyOf": [{"const": "ä 🦊"}, {"type": "boolean"}, {"type": "null"}]},
]


@pytest.fixture(scope="module", params=["bpe", "spm"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    flavour: Flavour = request.param
    return Tokenizer.load(tiny_model(flavour).folder)


def said(tokenizer: Tokenizer, grammar: AnswerGrammar, seed: int) -> str | None:
    """What a model without any sense says within the grammar; None when it finds no end."""
    random = np.random.default_rng(seed)
    sampler = Sampler(Sampling(temperature=1, seed=seed), grammar=grammar)
    data = b""
    for _ in range(400):
        logits = random.standard_normal(tokenizer.vocab_size).astype(np.float32)
        token = sampler.choose(logits, [])
        if token in tokenizer.end_ids:
            return data.decode()
        data += tokenizer.token_bytes(token)
        if grammar.is_over:
            return data.decode()
    return None


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: next(iter(schema.values())))
def test_an_answer_follows_its_schema_or_grammar(
    tokenizer: Tokenizer, schema: dict[str, Any]
) -> None:
    grammars = Grammars(tokenizer)
    texts = {said(tokenizer, grammars.compile(json.dumps(schema)), seed) for seed in range(12)}
    values = [json.loads(text) for text in texts if text is not None]
    assert values
    for value in values:
        match schema:
            case {"type": "object"}:
                assert isinstance(value["a"], int)
            case {"type": "array"}:
                assert 2 <= len(value) <= 4
                assert set(value) <= set(schema["items"]["enum"])
            case {"type": "string"}:
                assert len(value) <= 12
            case _:
                assert value in ("ä 🦊", True, False, None)


@pytest.mark.parametrize(
    "schema",
    ["{", "3", '"x"', "[]", '{"type": "nonsense"}', '{"$ref": "http://evil.example/x"}'],
)
def test_a_malformed_schema_is_refused_in_a_sentence(tokenizer: Tokenizer, schema: str) -> None:
    with pytest.raises(SchemaRefused, match="schema"):
        Grammars(tokenizer).compile(schema)


def test_a_grammar_that_is_left_is_an_error(tokenizer: Tokenizer) -> None:
    grammar = Grammars(tokenizer).compile('{"type": "boolean"}')
    with pytest.raises(SchemaRefused):
        grammar.accept(tokenizer.encode("x")[-1])
