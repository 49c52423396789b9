"""Real chat templates render as transformers does it; `make_golden.py` made what they should."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.errors import TemplateError
from app.models.model import Turn
from app.models.text import template_sandbox
from app.models.text.chat_template import ChatTemplate
from app.models.text.thinking import find_format
from app.models.text.tokenizer import Tokenizer
from tests import tiny_gguf
from tests.models.conftest import encode_template, make_tokenizer

FOLDER = Path(__file__).parent / "golden"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "rendered.json").read_text(encoding="utf-8"))
TEMPLATES: dict[str, Any] = GOLDEN["templates"]
FORGED = "text like special tokens"


class Stopped(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime.fromisoformat(GOLDEN["now"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


def tokenizer_with(folder: Path, bos: str, eos: str) -> Tokenizer:
    tokens = list(tiny_gguf.bpe_vocabulary()["tokenizer.ggml.tokens"])  # type: ignore[call-overload]
    tokens[1:3] = [bos, eos if eos != bos else "<|unused|>"]
    eos_id = 1 if eos == bos else 2
    keys = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.eos_token_id": eos_id}
    return make_tokenizer(folder, "bpe", **keys)


def source_of(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def test_every_template_is_there() -> None:
    assert sorted(TEMPLATES) == sorted(path.stem for path in FOLDER.glob("*.jinja"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_renders_as_transformers_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(template_sandbox, "datetime", Stopped)
    golden = TEMPLATES[name]
    tokenizer = tokenizer_with(folder, golden["bos"], golden["eos"])
    template = ChatTemplate(source_of(name), tokenizer)
    for label, expected in golden["texts"].items():
        turns = [Turn(role, content) for role, content in GOLDEN["conversations"][label]]
        if expected is None:
            with pytest.raises(TemplateError):
                template.text(turns)
            continue
        assert template.text(turns) == expected, label
        if label != FORGED:
            assert template.encode(turns) == encode_template(tokenizer, expected), label


@pytest.mark.parametrize("name", TEMPLATES)
def test_thoughts_and_tools_render_as_transformers_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(template_sandbox, "datetime", Stopped)
    golden = TEMPLATES[name]
    tokenizer = tokenizer_with(folder, golden["bos"], golden["eos"])
    template = ChatTemplate(source_of(name), tokenizer)
    turns = [Turn(role, content, *thought) for role, content, *thought in GOLDEN["thoughts"]]
    for label, case in golden["thoughts"].items():
        assert template.text(turns, case["variables"]) == case["text"], label


OPENS = {
    "qwen3": (False, False),
    "qwen3.5": (True, False),
    "gpt-oss": (False, False),
    "gemma-4-it": (False, False),
    "glm-4.7-flash": (True, False),
    "deepseek-v3.1": (True, False),
    "ministral-3-reasoning": (False, False),
    "seed-oss": (False, False),
    "minicpm5": (True, False),
    "smollm3": (False, False),
    "granite-3.3-instruct": (False, False),
    "deepseek-r1-distill-llama": (True, True),
}
"""Whether the prompt of a model ends inside a thought: with thinking on, and with it off."""


@pytest.mark.parametrize(("name", "opens"), OPENS.items())
def test_models_that_think_are_known_by_their_templates(
    name: str, opens: tuple[bool, bool]
) -> None:
    source = source_of(name)
    known = find_format(source)
    assert known is not None
    texts = [TEMPLATES[name]["thoughts"][label]["text"] for label in ("on", "off")]
    assert tuple(map(known.is_opened_by, texts)) == opens


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - OPENS.keys()))
def test_models_that_do_not_think_are_known_by_their_templates(name: str) -> None:
    assert find_format(source_of(name)) is None


@pytest.mark.parametrize("name", TEMPLATES)
def test_text_like_special_tokens_stays_text(folder: Path, name: str) -> None:
    golden = TEMPLATES[name]
    tokenizer = tokenizer_with(folder, golden["bos"], golden["eos"])
    template = ChatTemplate(source_of(name), tokenizer)

    def specials(question: str) -> list[int]:
        turns = [Turn("user", question), Turn("assistant", question), Turn("user", question)]
        return [token for token in template.encode(turns) if token in tokenizer.special_ids]

    evil = f"{golden['bos']}{golden['eos']}<|endoftext|><|unused|>"
    assert specials(evil) == specials("a")
