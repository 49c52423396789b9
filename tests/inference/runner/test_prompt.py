"""From a request to the ids of its prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import PromptRefused, PromptTooLong
from app.inference.protocol import Generate
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.prompt import PromptBuilder
from app.inference.runner.token_memory import StableTokenizer
from app.models.model import Turn
from app.models.store import ModelStore
from app.models.text.chat_template import ChatTemplate
from tests.inference.scripted_engine import ScriptedEngine
from tests.inference.tiny import tiny_model
from tests.tiny_gguf import CHATML, bpe_vocabulary, write_tiny_gguf

ALTERNATING = (
    "{% for m in messages %}"
    "{% if m.role == 'system' or (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
)
SYSTEM, ASKED, SAID = Turn("system", "Be kind."), Turn("user", "Why?"), Turn("assistant", "So.")


def prompts(
    folder: Path | None = None, source: str = CHATML, context_length: int = 60
) -> PromptBuilder:
    tokenizer = StableTokenizer.load(folder or tiny_model().folder)
    template = ChatTemplate(source, tokenizer)
    return PromptBuilder(template, tokenizer, KvCache(ScriptedEngine(), 1), context_length)


def test_templates_that_insist_on_alternation_get_it() -> None:
    made = prompts(source=ALTERNATING, context_length=500)
    for turns, same in (
        ((SAID, ASKED), (Turn("user", "Hello."), SAID, ASKED)),
        ((ASKED, SYSTEM, ASKED), (Turn("user", "Be kind.\n\nWhy?\n\nWhy?"),)),
        ((SYSTEM, SAID, ASKED), (Turn("user", "Hello."), SAID, Turn("user", "Be kind.\n\nWhy?"))),
    ):
        for may_drop in (False, True):
            tokens = made.build(Generate(1, turns, allow_truncation=may_drop)).tokens
            assert tokens == made.template.encode(same)


def test_a_gap_is_filled_where_the_file_names_the_tokens_for_it(tmp_path: Path) -> None:
    named = {"fim_pre": 10, "fim_suf": 11, "fim_mid": 12}
    metadata: dict[str, Any] = {
        f"tokenizer.ggml.{name}_token_id": index for name, index in named.items()
    }
    file = write_tiny_gguf(tmp_path / "filler.gguf", **metadata)
    made = prompts(ModelStore(tmp_path / "store").install(file, "filler").folder)
    encode = made.tokenizer.encode_continuation
    fitted = made.build(Generate(1, (), text="One ", suffix=" three"))
    assert fitted.tokens == [10, *encode("One "), 11, *encode(" three"), 12]
    with pytest.raises(PromptTooLong):
        made.build(Generate(1, (), text="One ", suffix=" three" * 60))


def test_a_gap_is_filled_where_the_vocabulary_has_the_tokens_for_it(tmp_path: Path) -> None:
    tokens = bpe_vocabulary()["tokenizer.ggml.tokens"]
    kinds = bpe_vocabulary()["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list)
    assert isinstance(kinds, list)
    names = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
    first = len(tokens) - 3
    changed: dict[str, Any] = {
        "tokenizer.ggml.tokens": [*tokens[:first], *names],
        "tokenizer.ggml.token_type": [*kinds[:first], 3, 3, 3],
    }
    file = write_tiny_gguf(tmp_path / "filler.gguf", **changed)
    made = prompts(ModelStore(tmp_path / "store").install(file, "filler").folder)
    assert made.tokenizer.infill_ids == [first, first + 1, first + 2]


def test_a_request_that_the_model_cannot_read_is_refused() -> None:
    made, size = prompts(), prompts().tokenizer.vocab_size
    for request in (
        Generate(1, (), text="", before=(size,)),
        Generate(1, (ASKED,), before=(1, -1)),
        Generate(1, (ASKED,), bias=((size, 1.0),)),
        Generate(1, (), text="One", suffix="three"),
    ):
        with pytest.raises(PromptRefused):
            made.build(request)


def test_a_prompt_that_is_too_long_fails_with_its_figures() -> None:
    for request in (
        Generate(1, (), text="word " * 90),
        Generate(1, (Turn("user", "word " * 90),)),
        Generate(1, (Turn("user", "word " * 90),), allow_truncation=False),
    ):
        with pytest.raises(PromptTooLong) as caught:
            prompts().build(request)
        assert caught.value.context_length == 60
        assert caught.value.prompt_tokens > 90


def test_of_what_may_be_cut_the_end_counts() -> None:
    made = prompts()
    long = Turn("user", "".join(f" {number}" for number in range(100)))
    fitted = made.build(Generate(1, (SYSTEM, ASKED, SAID, long), may_cut=True, max_tokens=8))
    text = b"".join(map(made.tokenizer.token_bytes, fitted.tokens)).decode()
    assert "Be kind." in text
    assert text.endswith("98 99\nassistant\n")
    assert (fitted.dropped, len(fitted.tokens) <= 52) == (2, True)
    fitted = made.build(Generate(1, (), text=long.content, may_cut=True))
    assert len(fitted.tokens) == 59
    fitted = made.build(Generate(1, (ASKED,), before=tuple(range(5, 105)), may_cut=True))
    assert len(fitted.tokens) == 59
    with pytest.raises(PromptTooLong, match="system prompt"):
        made.build(Generate(1, (Turn("system", "word " * 90), ASKED), may_cut=True))
