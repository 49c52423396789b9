"""Embedding models get questions and passages as their cards say, by what they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.models.store import ModelStore
from app.models.text.embedding_prefixes import EmbeddingPrefixes, prefixes_of
from tests.tiny_architectures import write_architecture

SENTENCE = "Represent this sentence for searching relevant passages: "


@pytest.mark.parametrize(
    ("title", "question", "passage"),
    [
        ("Nomic Embed Text v1.5", "search_query: ", "search_document: "),
        ("nomic-embed-text-v2-moe", "search_query: ", "search_document: "),
        ("embeddinggemma-300M", "task: search result | query: ", "title: none | text: "),
        ("Embedding Gemma 300M", "task: search result | query: ", "title: none | text: "),
        ("multilingual-e5-base", "query: ", "passage: "),
        ("E5 Small v2", "query: ", "passage: "),
        ("snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("snowflake-arctic-embed-m-v1.5", SENTENCE, ""),
        ("bge-small-en-v1.5", SENTENCE, ""),
        ("mxbai-embed-large-v1", SENTENCE, ""),
        *((other, "", "") for other in ("bge-m3", "all-MiniLM-L6-v2", "gte-base", "fake5-large")),
    ],
)
def test_models_are_known_by_their_names(
    tmp_path: Path, title: str, question: str, passage: str
) -> None:
    model = ModelStore(tmp_path / "models").install(
        write_architecture(tmp_path / "bert.gguf", "bert"), "bert"
    )
    found = prefixes_of(replace(model, title=title))
    assert found == EmbeddingPrefixes(question, passage)


def test_instructions_stand_before_questions_alone(tmp_path: Path) -> None:
    model = ModelStore(tmp_path / "models").install(
        write_architecture(tmp_path / "bert.gguf", "bert"), "bert"
    )
    qwen = prefixes_of(replace(model, title="Qwen3 Embedding 0.6B"))
    assert qwen.question.endswith("answer the query\nQuery:")
    e5 = prefixes_of(replace(model, title="multilingual-e5-large-instruct"))
    assert e5.question == f"{qwen.question} "
    assert qwen.passage == e5.passage == ""
    gemma = prefixes_of(replace(model, architecture="gemma-embedding", title="mine"))
    assert gemma.passage == "title: none | text: "


def test_vectors_with_another_prefix_are_others() -> None:
    assert EmbeddingPrefixes("query: ").key("abc") == "abc"
    keys = {EmbeddingPrefixes("", passage).key("abc") for passage in ("", "a: ", "b: ")}
    assert len(keys) == 3
