"""Estimates in seconds, with speeds that a test can divide by."""

from __future__ import annotations

from typing import Any

import pytest

from app.inference.protocol import Delta, Finished, Generate, Prefill
from app.inference.queue import EtaEstimator, Request
from app.models.model import Turn


def request(*texts: str, chat: str = "", number: int = 1) -> Request:
    roles: Any = ("user", "assistant")
    turns = tuple(Turn(roles[index % 2], text) for index, text in enumerate(texts))
    return Request(Generate(number, turns, chat=chat), 1, lambda event: None)


def measured(running: int = 1) -> EtaEstimator:
    """Four characters a token; 100 tokens per second are read and 10 written; answers have 50."""
    estimate = EtaEstimator()
    ended = Finished(1, "stop", 100, 0, 50, 1.0, 5.0, 0)
    estimate.on_finished(request("x" * 400), ended, running)
    return estimate


def test_nothing_is_said_before_anything_was_measured() -> None:
    assert EtaEstimator().start_times([request("a")], [request("b"), request("c")], 1) == [
        None,
        None,
    ]


def test_a_long_prompt_ahead_raises_the_estimate_accordingly() -> None:
    short, long, last = request("x" * 40), request("x" * 6000), request("x" * 40)
    quick = measured().start_times([], [short, short, last], 1)
    slow = measured().start_times([], [short, long, last], 1)
    assert quick == [0.0, pytest.approx(5.1), pytest.approx(10.2)]
    assert slow == [0.0, pytest.approx(5.1), pytest.approx(5.1 + 15 + 5)]


def test_the_estimate_falls_as_the_work_is_done() -> None:
    estimate, running = measured(), request("x" * 6000)

    def left() -> float | None:
        return estimate.start_times([running], [request("x")], 1)[0]

    reported = [left()]
    for event in (
        Prefill(1, 0, 1500, 0, 0),
        Prefill(1, 750, 1500, 0, 0),
        Prefill(1, 1500, 1500, 0, 0),
        Delta(1, "y" * 100),
        Delta(1, "y" * 1000),
    ):
        estimate.on_event(running, event)
        reported.append(left())
    # 1500 tokens to read and 50 to write; in the end it is longer than usual.
    assert reported == [pytest.approx(s) for s in (20.0, 20.0, 12.5, 5.0, 2.5, 1.25)]


def test_tokens_that_a_chat_has_read_before_are_not_counted_again() -> None:
    estimate = measured()
    first = request("a" * 4000, chat="chat")
    estimate.on_finished(first, Finished(1, "stop", 1000, 0, 50, 10.0, 5.0, 0), 1)
    again = request("a" * 4000, "b" * 200, "c" * 40, chat="chat")
    assert estimate.new_characters(again.command) == 40
    edited = request("d" * 4000, "b" * 200, "c" * 40, chat="chat")
    assert estimate.new_characters(edited.command) == 4240
    elsewhere = request("a" * 4000, chat="other")
    assert estimate.new_characters(elsewhere.command) == 4000


def test_no_prompt_is_longer_than_the_context() -> None:
    estimate = measured()
    estimate.context_length = 500
    assert estimate.start_times([], [request("x" * 100_000), request("y")], 1)[1] == pytest.approx(
        10.0
    )


def test_many_at_once_are_slower_each() -> None:
    alone, four = measured(1), [request("x" * 400, number=n) for n in range(4)]
    for running in four:
        alone.on_event(running, Prefill(1, 100, 100, 0, 0))
    (start,) = alone.start_times(four, [request("y")], 4)
    assert start == pytest.approx(20.0)  # 50 tokens at a quarter of ten a second
    (start,) = measured(4).start_times(four, [request("y")], 4)
    assert start == pytest.approx(5.0)  # measured with four at work


def test_a_prompt_that_was_read_from_a_cache_does_not_count_as_speed() -> None:
    estimate = measured()
    estimate.on_finished(request("x" * 400), Finished(1, "stop", 100, 100, 50, 0.001, 5.0, 0), 1)
    assert estimate.start_times([], [request("x" * 4000), request("y")], 1)[1] == pytest.approx(
        15.0
    )


def test_a_prompt_that_was_not_read_to_its_end_teaches_nothing() -> None:
    estimate, cancelled = measured(), request("x" * 4000, chat="chat")
    estimate.on_finished(cancelled, Finished(1, "cancelled", 1000, 0, 0, 0.1, 0.0, 0), 1)
    assert estimate.start_times([], [cancelled, request("y")], 1)[1] == pytest.approx(15.0)
