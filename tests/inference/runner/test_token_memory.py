from __future__ import annotations

import pytest

from app.inference.runner import token_memory
from app.inference.runner.token_memory import StableTokenizer
from app.models.model import Turn
from app.models.text.chat_template import ChatTemplate
from tests.inference.tiny import tiny_model


@pytest.fixture
def tokenizer() -> StableTokenizer:
    return StableTokenizer.load(tiny_model().folder)


def letters(tokenizer: StableTokenizer, text: str) -> list[int]:
    """The text spelled letter by letter, as the tokenizer itself never would."""
    return [index for letter in text for index in tokenizer.encode(letter)]


def test_a_chat_goes_on_with_the_very_ids_that_were_generated(
    tokenizer: StableTokenizer,
) -> None:
    template = ChatTemplate(tiny_model().chat_template, tokenizer)
    question = [Turn("user", "Who?")]
    prompt = template.encode(question)
    answer = letters(tokenizer, "the people of the water")
    assert tokenizer.encode("the people of the water") != answer
    tokenizer.remember(prompt, answer, "the people of the water")
    following = template.encode(
        [*question, Turn("assistant", "the people of the water"), Turn("user", "And?")]
    )
    assert following[: len(prompt) + len(answer)] == [*prompt, *answer]


def test_a_user_who_writes_the_same_gets_the_usual_tokens(
    tokenizer: StableTokenizer,
) -> None:
    template = ChatTemplate(tiny_model().chat_template, tokenizer)
    said = [Turn("user", "the people")]
    before = template.encode(said)
    tokenizer.remember(before, letters(tokenizer, "the people"), "the people")
    assert ChatTemplate(tiny_model().chat_template, tokenizer).encode(said) == before


def test_special_tokens_never_come_back_through_text(tokenizer: StableTokenizer) -> None:
    usual = tokenizer.encode("the")
    special = min(tokenizer.special_ids)
    tokenizer.remember([special], [*letters(tokenizer, "the"), special], "the")
    assert tokenizer.encode("the") == usual


def test_text_cut_at_a_stop_string_is_not_remembered(tokenizer: StableTokenizer) -> None:
    usual = tokenizer.encode("the")
    tokenizer.remember([min(tokenizer.special_ids)], letters(tokenizer, "the end"), "the")
    assert tokenizer.encode("the") == usual


def test_remembered_tokens_are_learned_by_another_process(
    tokenizer: StableTokenizer,
) -> None:
    question = [Turn("user", "Who?")]
    template = ChatTemplate(tiny_model().chat_template, tokenizer)
    prompt, said = template.encode(question), "the people of the water"
    answer = letters(tokenizer, said)
    tokenizer.remember(prompt, answer, said)
    runs = tokenizer.token_runs([*prompt, *answer])
    assert [ids[-len(answer) :] for _, ids in runs] == [tuple(answer)]

    fresh = StableTokenizer.load(tiny_model().folder)
    template = ChatTemplate(tiny_model().chat_template, fresh)
    following = [*question, Turn("assistant", said), Turn("user", "And?")]
    usual = template.encode(following)  # the template has the usual ids in its own memory now
    exact = template.encode(following, spelled=fresh.import_runs(runs))
    assert exact[: len(prompt) + len(answer)] == [*prompt, *answer] != usual[: len(exact)]
    assert fresh.token_runs(exact) == runs


def test_runs_that_spell_another_text_are_not_learned(tokenizer: StableTokenizer) -> None:
    usual = tuple(tokenizer.encode("the"))
    special = min(tokenizer.special_ids)
    wrong = (
        ("another", usual),
        ("the", (*usual, special)),
        ("the", (*usual, -1)),
        ("the", (tokenizer.vocab_size,)),
    )
    assert tokenizer.import_runs(wrong) == {}


def test_remembered_runs_are_bounded_and_the_least_used_goes_first(
    tokenizer: StableTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_memory, "MAX_STORED", 60)
    mark = min(tokenizer.special_ids)
    spelled = {text: letters(tokenizer, text) for text in ("the people", "the water", "the end")}
    for text in ("the people", "the water"):
        tokenizer.remember([mark], spelled[text], text)
    assert tokenizer.encode("the people") == spelled["the people"]  # used once more
    tokenizer.remember([mark], spelled["the end"], "the end")
    kept = [text for text, ids in spelled.items() if tokenizer.encode(text) == ids]
    assert kept == ["the people", "the end"]
    assert [text for text, _ in tokenizer.token_runs([*spelled["the water"]])] == []


def test_requests_that_must_not_depend_on_earlier_answers_get_the_usual_tokens(
    tokenizer: StableTokenizer,
) -> None:
    usual = ChatTemplate(tiny_model().chat_template, tokenizer.forgetful())
    template = ChatTemplate(tiny_model().chat_template, tokenizer)
    question = [Turn("user", "Who?")]
    turns = [*question, Turn("assistant", "the people of the water"), Turn("user", "And?")]
    before = usual.encode(turns)
    prompt = template.encode(question)
    tokenizer.remember(prompt, letters(tokenizer, "the people of the water"), turns[1].content)
    assert template.encode(turns) != before
    assert usual.encode(turns) == before
