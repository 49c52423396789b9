from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.text.thinking import (
    FORMATS,
    THINK,
    ThinkingControls,
    ThinkingFormat,
    ThinkingParser,
    find_controls,
    find_format,
)

BY_NAME = {known.name: known for known in FORMATS}

ANSWERS = [
    ("think", "<think>\nTwo and two.\n</think>\n\nFour.", "Two and two.", "Four."),
    ("think", "<think>\n\n</think>\n\nFour.", "", "Four."),
    ("think", "Four.", "", "Four."),
    ("think", "Write <think> to think.", "", "Write <think> to think."),
    ("think", "  <think>a</think>b</think>c", "a", "b</think>c"),
    ("think", "<think>a <think> b</think>c", "a <think> b", "c"),
    ("think", "<think>never ends", "never ends", ""),
    ("think", "<thin ice>", "", "<thin ice>"),
    ("gemma", "<|channel>thought\nTwo.<channel|>Four.", "Two.", "Four."),
    ("gemma", "Well, <|channel>thought\nTwo.<channel|>four.", "Two.", "Well, four."),
    ("mistral", "[THINK]Two.[/THINK]Four.", "Two.", "Four."),
    ("cohere", "<|START_THINKING|>Two.<|END_THINKING|>Four.", "Two.", "Four."),
    ("seed", "<seed:think>Two.</seed:think>Four.", "Two.", "Four."),
    ("granite", "<think>Two.</think>\n<response>Four.</response>", "Two.", "Four."),
    ("granite", "<response>Four.</response>", "", "Four."),
    (
        "hunyuan",
        "<think>\nTwo.\n</think>\n<answer>\nFour.\n</answer>",
        "Two.",
        "Four.\n",
    ),
    (
        "harmony",
        "<|channel|>analysis<|message|>Two.<|end|><|start|>assistant<|channel|>final<|message|>"
        "Four.",
        "Two.",
        "Four.",
    ),
    ("harmony", "<|channel|>final<|message|>Four.", "", "Four."),
    (
        "muse",
        " to=self<|message|>Two.<|eom|><|start|>assistant to=user<|message|>Four.",
        "Two.",
        "Four.",
    ),
    (
        "muse",
        "<|start|>assistant to=self<|message|>Two.<|eom|><|start|>assistant<|message|>Four.",
        "Two.",
        "Four.",
    ),
    ("muse", " to=user<|message|>Four.", "", "Four."),
    ("muse", "Four.", "", "Four."),
    (
        "kimi",
        "<|open|>think<|sep|>Two.<|close|>think<|sep|><|open|>response<|sep|>Four."
        "<|close|>response<|sep|><|close|>message<|sep|>",
        "Two.",
        "Four.",
    ),
    ("kimi", "<|open|>response<|sep|>Four.<|close|>response<|sep|>", "", "Four."),
    ("kimi", "Four.<|close|>response<|sep|><|close|>message<|sep|>", "", "Four."),
    ("minimax", "<mm:think>Two <think>.</mm:think>Four.", "Two <think>.", "Four."),
    ("minimax", "</mm:think>Four.", "", "Four."),
    (
        "apriel",
        "Here are my reasoning steps:\nTwo.\n[BEGIN FINAL RESPONSE]\nFour.\n[END FINAL RESPONSE]",
        "Two.",
        "Four.\n",
    ),
    ("apriel", "[BEGIN FINAL RESPONSE]Four.[END FINAL RESPONSE]", "", "Four."),
    (
        "harmony",
        "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "Let me see. <|end|><|start|>assistant<|channel|>analysis<|message|>B<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Four.",
        "AB",
        "Let me see. Four.",
    ),
]


def parsed(parser: ThinkingParser, pieces: list[str]) -> tuple[str, str]:
    """The thought and the answer of a text that comes in pieces."""
    parts = [part for piece in pieces for part in parser.feed(piece)] + parser.flush()
    thought = "".join(text for part, text in parts if part == "thought")
    return thought, "".join(text for part, text in parts if part == "answer")


@pytest.mark.parametrize(("name", "text", "thought", "answer"), ANSWERS)
def test_a_thought_is_told_from_the_answer(name: str, text: str, thought: str, answer: str) -> None:
    assert parsed(ThinkingParser(BY_NAME[name]), [text]) == (thought, answer)


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 200)))
def test_the_cut_between_pieces_plays_no_part(
    case: tuple[str, str, str, str], cuts: list[int]
) -> None:
    name, text, thought, answer = case
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert parsed(ThinkingParser(BY_NAME[name]), pieces) == (thought, answer)
    letters = ThinkingParser(BY_NAME[name])
    assert parsed(letters, list(text)) == (thought, answer)


@given(st.sampled_from(FORMATS), st.text(), st.booleans())
def test_no_text_is_lost_that_has_no_marker(
    known: ThinkingFormat, text: str, is_open: bool
) -> None:
    if any(marker in text for marker in known.markers):
        return
    thought, answer = parsed(ThinkingParser(known, is_open=is_open), list(text))
    if is_open:
        assert (thought, answer) == (text.strip(), "")
    else:
        assert (thought, answer) == ("", text)


def test_a_prompt_that_opens_the_thought_makes_the_model_begin_inside_it() -> None:
    assert THINK.is_opened_by("<|im_start|>assistant\n<think>\n")
    assert not THINK.is_opened_by("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    parser = ThinkingParser(THINK, is_open=True)
    assert parsed(parser, ["Two.", "\n</think>", "\n\nFour."]) == ("Two.", "Four.")


def test_an_answer_that_goes_on_keeps_its_white_space_and_thinks_no_more() -> None:
    parser = ThinkingParser(THINK, is_answering=True, resumes=True)
    assert parsed(parser, [" and <think> five."]) == ("", " and <think> five.")


@pytest.mark.parametrize(
    ("template", "special", "name"),
    [
        ("{{ '<|channel|>analysis<|message|>' }}", (), "harmony"),
        ("{{ '<|channel>thought\\n' }}{{ '<channel|>' }}", (), "gemma"),
        ("{{ content.split('</think>')[-1] }}", (), "think"),
        ("{{ '[THINK]' + '[/THINK]' }}", (), "mistral"),
        ("plain", ("<think>", "</think>"), "think"),
        ("plain", ("<think>",), None),
        ("Write between <think></think> and <response></response>.", (), "granite"),
        ("{{ '<think>' }}{{ '</think>' }}{{ '<response>' }}", (), "think"),
        ("{{ '<think>' }}{{ '<answer>' }}", (), "hunyuan"),
        ("{{ '<|start|>assistant to=self<|message|>' }}", (), "muse"),
        ("{{ '<|open|>think<|sep|>' }}", (), "kimi"),
        ("{{ mark('think') }}", ("<|open|>", "<|close|>", "<|sep|>"), "kimi"),
        ("{{ '<mm:think>' }}{{ '</mm:think>' }}", (), "minimax"),
        ("{{ 'Here are my reasoning steps:\n' }}{{ '[BEGIN FINAL RESPONSE]' }}", (), "apriel"),
        ("{{ message.content }}", (), None),
    ],
)
def test_a_format_is_found_by_template_and_special_tokens(
    template: str, special: tuple[str, ...], name: str | None
) -> None:
    found = find_format(template, special)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("template", "switch", "level", "efforts"),
    [
        ("{% if enable_thinking is defined and not enable_thinking %}", "enable_thinking", "", ()),
        ("{% if not thinking is defined %}{% set thinking = false %}", "thinking", "", ()),
        ("{{ message.thinking }}{{ message['thinking'] }}", "", "", ()),
        ("{{ raise('no thinking here') }}{# thinking #} thinking", "", "", ()),
        ("{% set ns = namespace(thinking=1) %}{{ ns.thinking }}", "", "", ()),
        (
            "{%- if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}",
            "",
            "reasoning_effort",
            ("low", "medium", "high"),
        ),
        (
            "{% if reasoning_effort not in ['none', 'high'] %}",
            "",
            "reasoning_effort",
            ("none", "high"),
        ),
        ("{{ messages }}", "", "", ()),
    ],
)
def test_the_controls_of_a_template_are_found(
    template: str, switch: str, level: str, efforts: tuple[str, ...]
) -> None:
    found = find_controls(template)
    assert (found.switch, found.level, found.efforts) == (switch, level, efforts)


def test_a_template_gets_its_variables() -> None:
    plain = ThinkingControls("enable_thinking")
    assert plain.variables(think=None, effort=None) == {}
    assert plain.variables(think=False, effort=None) == {"enable_thinking": False}
    assert plain.variables(think=True, effort="none") == {"enable_thinking": False}
    levels = ThinkingControls("", "reasoning_effort", ("low", "medium", "high"))
    assert levels.variables(think=None, effort="max") == {"reasoning_effort": "high"}
    assert levels.variables(think=False, effort=None) == {}
    assert not levels.can_switch
    none = ThinkingControls("", "reasoning_effort", ("none", "high"))
    assert none.variables(think=False, effort=None) == {"reasoning_effort": "none"}
    assert none.can_switch
