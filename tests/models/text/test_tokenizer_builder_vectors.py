"""Tokenisation equals the reference, text by text; `make_vectors.py` made what it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import ModelUnsupported
from app.models.text.tokenizer import Tokenizer
from app.models.text.tokenizer_builder import PRETOKENIZERS, pretokenizer_for
from tests.models.conftest import encode_template, make_tokenizer

FOLDER = Path(__file__).parent / "vectors"


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


TEXTS: list[str] = read("texts")["texts"]
SPECIALS: list[str] = read("texts")["specials"]
SENTENCEPIECE = ("sentencepiece", "sentencepiece-no-prefix")
BYTE_LEVEL = sorted({path.stem for path in FOLDER.glob("*.json")} - {"texts", *SENTENCEPIECE})


def byte_level(folder: Path, name: str, vectors: Any) -> Tokenizer:
    keys: dict[str, object] = {
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": vectors["tokens"],
        "tokenizer.ggml.token_type": [3 if t in SPECIALS else 1 for t in vectors["tokens"]],
        "tokenizer.ggml.merges": vectors["merges"],
    }
    return make_tokenizer(folder, "bpe", **keys)


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_byte_level_vocabularies(tmp_path: Path, name: str) -> None:
    vectors = read(name)
    tokenizer = byte_level(tmp_path, name, vectors)
    style = pretokenizer_for(name)
    cutter, normalizer = style.build(), style.normalizer()
    assert len(vectors["cases"]) == len(TEXTS)
    for text, case in zip(TEXTS, vectors["cases"], strict=True):
        normal = normalizer.normalize_str(text) if normalizer else text
        assert [word for word, _ in cutter.pre_tokenize_str(normal)] == case["words"], text
        assert tokenizer.encode(text) == case["ids"], text
        assert encode_template(tokenizer, text) == case["marked"], text
        assert b"".join(map(tokenizer.token_bytes, case["ids"])).decode() == normal


def test_every_way_that_is_known_has_a_reference() -> None:
    same = {"llama3": "llama-bpe", "llama-v3": "llama-bpe"}
    assert {same.get(name, name) for name in PRETOKENIZERS} == set(BYTE_LEVEL)
    for name, other in same.items():
        assert pretokenizer_for(name) == pretokenizer_for(other)


@pytest.mark.parametrize("name", [None, "default", "falcon3"])
def test_a_way_without_a_reference_is_refused(name: str | None) -> None:
    with pytest.raises(ModelUnsupported, match="cuts text into words in a way"):
        pretokenizer_for(name)


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_sentencepiece_vocabularies(tmp_path: Path, name: str) -> None:
    vectors = read(name)
    keys: dict[str, object] = {
        "tokenizer.ggml.tokens": vectors["tokens"],
        "tokenizer.ggml.scores": vectors["scores"],
        "tokenizer.ggml.token_type": vectors["types"],
        "tokenizer.ggml.add_space_prefix": vectors["prefix"],
    }
    tokenizer = make_tokenizer(tmp_path, "spm", **keys)
    for text, case in zip(TEXTS, vectors["cases"], strict=True):
        assert tokenizer.encode(text) == case["ids"], text


def test_the_vectors_reach_what_they_are_for() -> None:
    """Otherwise they would prove little: whole words, digits, composing, bytes, own tokens."""
    llama, qwen, smollm = (read(name) for name in ("llama-bpe", "qwen2", "smollm"))
    whole = llama["tokens"].index("Ġsleeps")
    assert any(whole in case["ids"] for case in llama["cases"])
    assert all(qwen["tokens"].index("Ġsleeps") not in case["ids"] for case in qwen["cases"])
    accents = next(i for i, text in enumerate(TEXTS) if text.startswith("e\u0301"))
    assert qwen["cases"][accents]["words"][0] == "Ã©"
    assert smollm["cases"][accents]["words"][0] == "e"
    pieces = read("sentencepiece")
    used = {pieces["types"][token] for case in pieces["cases"] for token in case["ids"]}
    assert {1, 4, 6} <= used
