from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.models.model import ModelSettings, Turn
from app.models.store import ModelStore
from app.models.text.builtin_templates import guess_template, named_templates, stops_of, template_of
from app.models.text.chat_template import ChatTemplate
from app.models.text.tokenizer import Tokenizer
from tests import tiny_gguf
from tests.models.conftest import make_tokenizer
from tests.tiny_gguf import write_tiny_gguf

TALK = [
    Turn("system", "Be kind."),
    Turn("user", "Hi!"),
    Turn("assistant", "Hello."),
    Turn("user", "Why?"),
]
RENDERED = {
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n"
    "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama-2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi! [/INST] Hello. </s>"
    "<s>[INST] Why? [/INST]",
    "llama-3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nHi!</s>\n<|assistant|>\nHello.</s>\n"
    "<|user|>\nWhy?</s>\n<|assistant|>\n",
    "mistral": "<s>[INST] Be kind.\n\nHi! [/INST] Hello.</s>[INST] Why? [/INST]",
    "alpaca": "Be kind.\n\n### Instruction:\nHi!\n\n### Response:\nHello.</s>\n\n"
    "### Instruction:\nWhy?\n\n### Response:\n",
    "vicuna": "Be kind. USER: Hi! ASSISTANT: Hello.</s>USER: Why? ASSISTANT:",
    "plain": "Be kind.\n\nUser: Hi!\nAssistant: Hello.</s>\nUser: Why?\nAssistant:",
}


@pytest.mark.parametrize("name", named_templates())
def test_each_renders_as_its_models_were_trained(spm: Tokenizer, name: str) -> None:
    named = named_templates()[name]
    assert named.title
    assert ChatTemplate(named.source, spm).text(TALK) == RENDERED[name]
    # Without a system prompt, and with nothing but a question, it holds as well.
    assert "Why?" in ChatTemplate(named.source, spm).text(TALK[-1:])


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Llama-2-7B-Chat", "llama-2"),
        ("CodeLlama 7B Instruct", "llama-2"),
        ("mistral-7b-instruct-v0.1.Q4_K_M.gguf", "mistral"),
        ("Zephyr 7B Beta", "zephyr"),
        ("TinyLlama 1.1B Chat", "zephyr"),
        ("lmsys vicuna 7b v1.5", "vicuna"),
        ("alpaca-native", "alpaca"),
        ("Something Else", "plain"),
    ],
)
def test_a_name_is_a_hint(spm: Tokenizer, title: str, expected: str) -> None:
    assert guess_template(spm, title) == expected


@pytest.mark.parametrize(
    ("token", "expected"), [("<|start_header_id|>", "llama-3"), ("<|assistant|>", "zephyr")]
)
def test_a_vocabulary_says_more_than_a_name(tmp_path: Path, token: str, expected: str) -> None:
    tokens = list(tiny_gguf.bpe_vocabulary()["tokenizer.ggml.tokens"])  # type: ignore[call-overload]
    tokens[1] = token
    tokenizer = make_tokenizer(tmp_path, "bpe", **{"tokenizer.ggml.tokens": tokens})
    assert guess_template(tokenizer, "vicuna") == expected


def test_the_user_s_template_goes_before_the_file_s(store: ModelStore, tiny: Path) -> None:
    model = store.install(tiny, "tiny")
    assert template_of(model) == model.chat_template
    assert stops_of(model) == ()
    chosen = replace(model, settings=ModelSettings(template="alpaca"))
    assert template_of(chosen) == named_templates()["alpaca"].source
    assert "### Instruction:" in stops_of(chosen)
    unknown = replace(model, settings=ModelSettings(template="of another day"))
    assert template_of(unknown) == model.chat_template


def test_the_plain_template_of_earlier_versions_is_replaced(store: ModelStore, tiny: Path) -> None:
    """It put a second space before answers that begin with one, so no chat met its KV cache."""
    plain = named_templates()["plain"].source
    earlier = replace(store.install(tiny), chat_template=plain.replace(" | trim", ""))
    assert earlier.chat_template != template_of(earlier) == plain
    assert stops_of(earlier) == ("\nUser:",)


def test_an_answer_s_own_spaces_are_not_doubled(spm: Tokenizer) -> None:
    turns = [*TALK[:2], Turn("assistant", " Hello."), *TALK[3:]]
    assert ChatTemplate(named_templates()["plain"].source, spm).text(turns) == RENDERED["plain"]


def test_an_alpaca_like_file_gets_its_stops(store: ModelStore, tmp_path: Path) -> None:
    template = "{% for m in messages %}### Instruction:\n{{ m.content }}{% endfor %}"
    keys = {"tokenizer.chat_template": template}
    model = store.install(write_tiny_gguf(tmp_path / "m.gguf", **keys))  # type: ignore[arg-type]
    assert stops_of(model) == ("### Instruction:",)


def test_a_file_without_a_template_is_guessed_by_its_name(
    store: ModelStore, tmp_path: Path
) -> None:
    keys: dict[str, object] = {"tokenizer.chat_template": None, "general.name": "Vicuna 7B"}
    path = write_tiny_gguf(tmp_path / "m.gguf", flavour="spm", **keys)  # type: ignore[arg-type]
    model = store.install(path)
    assert model.chat_template == named_templates()["vicuna"].source
    assert stops_of(model) == ("USER:",)
