"""What cannot fit is refused before it costs anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from app.errors import PromptTooLong
from app.inference.protocol import Generate
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.prompt import PromptBuilder
from app.inference.runner.token_memory import StableTokenizer
from app.models.model import Turn
from app.models.text.chat_template import ChatTemplate
from tests.inference.scripted_engine import ScriptedEngine
from tests.inference.tiny import tiny_model

WINDOW = 512
LONG = "the people of the water " * 40_000  # nearly a million characters


@dataclass
class Counted:
    """How many characters were tokenised, and how often a permit was taken for it."""

    characters: int = 0
    permits: list[int] = field(default_factory=list)

    @contextmanager
    def permit(self) -> Iterator[None]:
        self.permits.append(1)
        yield


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def prompts(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> PromptBuilder:
    model = tiny_model()
    tokenizer = StableTokenizer.load(model.folder)
    original = tokenizer.encode_continuation

    def encode_after(text: str) -> list[int]:
        counted.characters += len(text)
        return original(text)

    monkeypatch.setattr(tokenizer, "encode_continuation", encode_after)
    template = ChatTemplate(model.chat_template, tokenizer, most=WINDOW, permit=counted.permit)
    return PromptBuilder(template, tokenizer, KvCache(ScriptedEngine(), 1), WINDOW)


def chat(*contents: str) -> tuple[Turn, ...]:
    return tuple(
        Turn("assistant" if number % 2 else "user", content)
        for number, content in enumerate(contents)
    )


@pytest.mark.parametrize("may_drop", [False, True])
@pytest.mark.parametrize(
    "turns",
    [chat(LONG), chat(LONG, LONG, LONG), (Turn("system", LONG), Turn("user", "Hi"))],
    ids=["one", "three", "system"],
)
def test_a_million_characters_are_refused_at_once(
    prompts: PromptBuilder, counted: Counted, turns: tuple[Turn, ...], *, may_drop: bool
) -> None:
    with pytest.raises(PromptTooLong, match=r"about \d+,\d{3}"):
        prompts.build(Generate(id=1, turns=turns, allow_truncation=may_drop))
    assert counted.characters < 70_000
    assert counted.permits


def test_the_refusal_says_about_how_long_the_message_is(prompts: PromptBuilder) -> None:
    exact = len(prompts.tokenizer.encode(LONG))
    with pytest.raises(PromptTooLong) as refused:
        prompts.build(Generate(id=1, turns=(), text=LONG, allow_truncation=False))
    reported = int(str(refused.value).split(" tokens")[0].split()[-1].replace(",", ""))
    assert reported == pytest.approx(exact, rel=0.1)


def test_an_old_message_that_never_fits_leaves_and_the_new_one_is_answered(
    prompts: PromptBuilder, counted: Counted
) -> None:
    fitted = prompts.build(Generate(id=1, turns=chat("Hi", "Yes", LONG, "Yes", "What is water?")))
    assert fitted.dropped == 4
    assert counted.characters < 400_000


def test_many_messages_are_refused_before_they_are_rendered(
    prompts: PromptBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts.template, "_render", None)
    turns = chat(*["a"] * 20_001)
    with pytest.raises(PromptTooLong, match="20,001"):
        prompts.build(Generate(id=1, turns=turns, allow_truncation=False))
    with pytest.raises(PromptTooLong, match="20,001"):
        prompts.build(Generate(id=1, turns=(Turn("system", "a"),) * 20_001))


def test_of_very_many_messages_the_newest_are_read(prompts: PromptBuilder) -> None:
    fitted = prompts.build(Generate(id=1, turns=chat(*["a"] * 20_001)))
    assert 0 < len(fitted.tokens) < WINDOW
    assert fitted.dropped > 19_000


def test_of_a_long_text_to_embed_only_its_beginning_is_tokenised(
    prompts: PromptBuilder, counted: Counted
) -> None:
    whole = prompts.tokenizer.encode(LONG)
    counted.characters = 0
    request = Generate(id=1, turns=(), text=LONG, wants_embedding=True, allow_truncation=True)
    assert prompts.build(request).tokens[-100:] == whole[: WINDOW - 1][-100:]
    assert counted.characters < 200_000


def test_a_text_that_fits_is_tokenised_once(prompts: PromptBuilder, counted: Counted) -> None:
    prompts.build(Generate(id=1, turns=chat("What is water?")))
    assert counted.characters < 200
