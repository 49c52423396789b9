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
from app.models.text.tools import ToolCall, ToolSpec
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


NATIVE = {
    "deepseek-v3.1": "all but the tools",
    "gemma-4-it": "all",
    "glm-4.7-flash": "all",
    "gpt-oss": "one at a time",
    "granite-4.1": "all",
    "llama-3.2-instruct": "one at a time",
    "minicpm5": "all",
    "ministral-3-reasoning": "all",
    "mistral-nemo-instruct": "all but the system prompt",
    "mistral-small-3.2": "all",
    "qwen3": "all",
    "qwen3-coder": "all",
    "qwen3.5": "all",
    "seed-oss": "all",
}
"""Templates that write calls and results themselves. Of gpt-oss and Llama 3 they know one call a
message, of which Wick makes several; Nemo's forgets the system prompt when a result is last, and
DeepSeek's does not say what tools there are."""
TOOLS = tuple(
    ToolSpec(
        one["function"]["name"],
        one["function"]["description"],
        json.dumps(one["function"]["parameters"]),
    )
    for one in GOLDEN["tools"]
)


def turn_of(message: dict[str, Any]) -> Turn:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], json.dumps(call["function"]["arguments"]))
        for call in message.get("tool_calls", ())
    )
    return Turn(
        message["role"],
        message["content"],
        message.get("thinking", ""),
        calls=calls,
        call_id=message.get("tool_call_id", ""),
        tool=message.get("name", ""),
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_histories_with_calls_render_as_transformers_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(template_sandbox, "datetime", Stopped)
    golden = TEMPLATES[name]
    tokenizer = tokenizer_with(folder, golden["bos"], golden["eos"])
    template = ChatTemplate(source_of(name), tokenizer)
    for label, messages in GOLDEN["histories"].items():
        turns = list(map(turn_of, messages))
        text = template.text(turns, tools=TOOLS)
        own = NATIVE.get(name)
        if own and not (own == "one at a time" and label == "two calls"):
            expected = golden["histories"][label]
            if own == "all but the system prompt":
                text = text.replace("You are terse.\n\n", "")
                expected = expected and expected.replace("You are terse.\n\n", "")
            if own == "all but the tools":
                assert text.endswith(expected.partition("You are terse.")[2])
            elif expected is not None:
                assert text == expected, label
        places = [text.find(word) for word in ("weather", "Paris?", "18 degrees")]
        assert -1 not in places, label
        for turn in turns:
            for call in turn.calls:
                values = json.loads(call.arguments).values()
                assert all(str(value) in text.replace("K\\u00f6ln", "Köln") for value in values)


@pytest.mark.parametrize("name", TEMPLATES)
def test_results_and_calls_forge_no_special_tokens(folder: Path, name: str) -> None:
    golden = TEMPLATES[name]
    tokenizer = tokenizer_with(folder, golden["bos"], golden["eos"])
    template = ChatTemplate(source_of(name), tokenizer)

    def specials(word: str) -> list[int]:
        call = ToolCall("abcdefgh1", "weather", json.dumps({"city": word, word: [word]}))
        tool = ToolSpec(
            "weather", word, json.dumps({"type": "object", "properties": {word: {"title": word}}})
        )
        turns = [
            Turn("user", "Paris?"),
            Turn("assistant", "", calls=(call,)),
            Turn("tool", word, call_id="abcdefgh1", tool="weather"),
        ]
        ids = template.encode(turns, tools=(tool,))
        return [token for token in ids if token in tokenizer.special_ids]

    evil = f"{golden['bos']}{golden['eos']}<|endoftext|><|unused|>"
    assert specials(evil) == specials("a")
