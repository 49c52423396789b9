from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import PromptTooLong
from app.inference.context_window import answer_reserve, fit, fit_continuation
from app.models.model import Turn

LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=40)


def encode(turns: Sequence[Turn]) -> list[int]:
    """Two tokens around every turn, one for each character, three for the whole."""
    ids = [1]
    for turn in turns:
        ids += [2, *map(ord, turn.content), 3]
    return [*ids, 4, 5]


def chat(lengths: Sequence[tuple[int, int]], system: str = "") -> list[Turn]:
    turns = [Turn("system", system)] if system else []
    for asked, answered in lengths:
        turns += [Turn("user", "q" * asked), Turn("assistant", "a" * answered)]
    return turns[:-1]


def test_a_short_chat_stays_whole() -> None:
    turns = chat([(3, 3), (3, 3)])
    fitted = fit(turns, encode, 100)
    assert (fitted.tokens, fitted.dropped) == (encode(turns), 0)


def test_questions_leave_with_their_answers_and_system_turns_stay() -> None:
    turns = chat([(20, 20), (20, 20), (5, 1)], system="be kind")
    fitted = fit(turns, encode, 70)
    assert fitted.dropped % 2 == 0
    assert fitted.tokens == encode([turns[0], *turns[1 + fitted.dropped :]])
    assert fitted.dropped > 0


def test_a_message_that_is_too_long_is_refused_with_figures() -> None:
    turns = [*chat([(2, 2), (2, 2)]), Turn("assistant", "a"), Turn("user", "q" * 5195)]
    with pytest.raises(PromptTooLong) as caught:
        fit(turns, encode, 3000)
    assert str(caught.value) == (
        "This message is about 5,200 tokens long; the model can read 3,000 at once. Shorten it."
    )


def test_a_prompt_without_turns_is_refused() -> None:
    with pytest.raises(ValueError):
        fit([], encode, 10)


def test_system_turns_that_are_too_long_alone_are_refused() -> None:
    with pytest.raises(PromptTooLong):
        fit([Turn("system", "s" * 99)], encode, 50)


def test_the_reserve_for_the_answer_is_at_most_a_quarter() -> None:
    assert answer_reserve(1024, 8192) == 1024
    assert answer_reserve(4000, 8192) == 2048
    assert answer_reserve(0, 512) == 1


@given(LENGTHS, st.sampled_from(["", "be kind"]))
def test_the_newest_turns_are_kept_as_far_as_they_fit(
    lengths: list[tuple[int, int]], system: str
) -> None:
    turns = chat(lengths, system)
    fitted = fit(turns, encode, 80)
    head = 1 if system else 0
    assert len(fitted.tokens) <= 80
    assert fitted.tokens == encode([*turns[:head], *turns[head + fitted.dropped :]])


@given(LENGTHS)
def test_a_growing_chat_seldom_loses_its_beginning(lengths: list[tuple[int, int]]) -> None:
    """From one question to the next either nothing more leaves, or enough for a while."""
    limit = 200
    sizes = [fit(chat(lengths[: n + 1]), encode, limit) for n in range(len(lengths))]
    for before, after in pairwise(sizes):
        assert after.dropped >= before.dropped
        if after.dropped > before.dropped:
            assert len(after.tokens) <= limit * 0.6


class Odd:
    """A template whose first turn is long: the parts do not add up."""

    def __call__(self, turns: Sequence[Turn]) -> list[int]:
        return [0] * (10 * len(turns) ** 2)


def test_turns_fit_even_when_parts_do_not_add_up() -> None:
    assert len(fit(chat([(1, 1)] * 30), Odd(), 300).tokens) <= 300


def opened(turns: Sequence[Turn]) -> list[int]:
    return [*encode(turns), *[7] * 20]


def test_an_answer_goes_on_behind_the_prompt_it_began_with() -> None:
    turns = chat([(5, 5), (5, 5), (5, 1)])
    began = fit(turns, encode, 30)
    fitted = fit_continuation(turns, encode, opened, 30, 80)
    assert fitted.dropped == began.dropped > 0
    assert fitted.tokens == [*began.tokens, *[7] * 20]


def test_further_turns_leave_when_a_cut_answer_has_no_room_to_go_on() -> None:
    turns = chat([(5, 5), (5, 5), (5, 1)])
    fitted = fit_continuation(turns, encode, opened, 45, len(opened(turns)) - 1)
    assert fit(turns, encode, 45).dropped == 0
    assert fitted.dropped == 4
    assert fitted.tokens == opened(turns[4:])


def test_an_answer_that_fills_the_window_cannot_go_on() -> None:
    with pytest.raises(PromptTooLong, match="cannot go on"):
        fit_continuation(chat([(20, 1)]), encode, opened, 40, 44)


def with_document(turns: Sequence[Turn], at: int = 0) -> list[Turn]:
    return [replace(turn, stays=True) if place == at else turn for place, turn in enumerate(turns)]


def test_a_document_stays_in_its_place_while_other_turns_leave() -> None:
    turns = with_document(chat([(50, 2), *[(5, 5)] * 10]))
    fitted = fit(turns, encode, 120)
    assert list(fitted.kept[:2]) == turns[:2]
    assert fitted.kept[-1] == turns[-1]
    assert 2 < len(fitted.kept) < len(turns)
    assert fitted.dropped == len(turns) - (len(fitted.kept) - 2)
    assert fitted.tokens == encode(fitted.kept)
    assert not fitted.lost_documents


def test_the_beginning_with_a_document_is_the_same_while_its_chat_grows() -> None:
    begin = encode(chat([(50, 2)]))[:-2]
    for count in range(1, 40):
        fitted = fit(with_document(chat([(50, 2), *[(5, 5)] * count])), encode, 120)
        assert fitted.tokens[: len(begin)] == begin


def test_a_document_leaves_when_it_leaves_no_room_for_the_newest_message() -> None:
    turns = with_document(chat([(50, 2), (5, 5), (80, 1)]))
    fitted = fit(turns, encode, 120)
    assert fitted.lost_documents
    assert len(fitted.kept) == 1
    with pytest.raises(PromptTooLong):
        fit(with_document(chat([(200, 1)])), encode, 120)


def test_an_answer_goes_on_behind_its_document() -> None:
    turns = with_document(chat([(50, 2), *[(5, 5)] * 10]))
    before = fit(turns, encode, 120)
    after = fit_continuation(turns, encode, lambda some: [*encode(some), 9], 120, 125)
    assert after.tokens == [*before.tokens, 9]
    assert after.kept == before.kept
