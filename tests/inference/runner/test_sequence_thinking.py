"""Sequences of a model that reasons, by an engine that says a text byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from app.inference.context_window import FittedPrompt
from app.inference.protocol import Delta, Event, Finished, Generate
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.sequence import RunnerContext, RunningSequence, Thinking
from app.inference.runner.threads import ThreadTuner
from app.models.model import Turn
from app.models.parameters import Sampling
from app.models.text.thinking import THINK
from tests.inference.scripted_engine import END, Bytes, ScriptedEngine
from tests.inference.stepping import run_alone

PROMPT = b"ask:"
START = 1
"""A special token of the prompt's, which says nothing by itself."""
THINKING = Thinking(THINK, {START: b"<think>"}, tuple(b"</think>"))


def saying(script: bytes, prompt: bytes = PROMPT) -> Callable[[Sequence[int]], int]:
    """The rule that goes on with a text, whatever came instead of it."""

    def rule(tokens: Sequence[int]) -> int:
        place = len(tokens) - len(prompt)
        return script[place] if place < len(script) else END

    return rule


@dataclass
class Said:
    thought: str = ""
    answer: str = ""
    finished: list[Finished] = field(default_factory=list)

    def take(self, event: Event) -> None:
        if isinstance(event, Delta):
            self.thought += event.thought
            self.answer += event.text
        elif isinstance(event, Finished):
            self.finished.append(event)


def answer(script: bytes, prompt: bytes = PROMPT, **options: object) -> Said:
    engine = ScriptedEngine(saying(script, prompt))
    context = RunnerContext(
        KvCache(engine, 1), engine.context_length, Bytes(), ThreadTuner(1), thinking=THINKING
    )
    request = Generate(1, (Turn("user", "x"),), Sampling(temperature=0), **options)  # type: ignore[arg-type]
    sequence = RunningSequence(request, FittedPrompt(list(prompt), 0), context)
    said = Said()
    for event in run_alone(sequence, context):
        said.take(event)
    return said


def test_a_thought_streams_apart_from_the_answer() -> None:
    said = answer(bytes([START]) + b"\nTwo and two.\n</think>\n\nFour.")
    assert (said.thought, said.answer) == ("Two and two.", "Four.")
    [finished] = said.finished
    assert finished.completion_tokens == 30
    assert finished.thought_tokens == 23


def test_a_prompt_that_ends_inside_a_thought_begins_with_one() -> None:
    said = answer(b"Two.</think>Four.", b"ask:<think>\n")
    assert (said.thought, said.answer) == ("Two.", "Four.")


def test_a_thought_that_is_too_long_is_ended_and_the_answer_begins() -> None:
    said = answer(b"<think>" + b"on and on and on " * 9, max_thought_tokens=20, max_tokens=60)
    assert said.thought == "on and on and on on"
    assert said.answer
    assert said.finished[0].completion_tokens == 60


def test_stops_do_not_end_a_thought() -> None:
    said = answer(b"<think>a Four b</think>Three Four five", stop=("Four",))
    assert (said.thought, said.answer) == ("a Four b", "Three ")


def test_an_answer_that_was_cut_in_its_thought_goes_on_thinking() -> None:
    said = answer(b" and two.</think>Four.", b"ask:<think>\nTwo", thought="Two")
    assert (said.thought, said.answer) == (" and two.", "Four.")


def test_an_answer_that_goes_on_thinks_no_more() -> None:
    said = answer(b" <think> is a tag", b"ask:<think>Two</think>It", thought="Two", opening="It")
    assert (said.thought, said.answer) == ("", " <think> is a tag")


@pytest.mark.parametrize("text", ["<think>a</think>b", "plain"])
def test_a_prompt_without_a_template_has_no_thoughts(text: str) -> None:
    said = answer(text.encode(), text=PROMPT.decode())
    assert (said.thought, said.answer) == ("", text)
