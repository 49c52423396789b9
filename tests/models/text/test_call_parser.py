"""Calls of tools are told from text, however the text comes."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from app.models.text.call_parser import CallParser, make_call_id, short_id
from app.models.text.tool_formats import HERMES, TOOL_FORMATS, ToolFormat, is_short_id
from app.models.text.tools import ToolCall, ToolCallDelta, ToolSpec, is_whole, join_calls

CALLS = (
    ToolCall("abcdefgh1", "get_weather", '{"city": "Paris", "days": 3, "hours": [6, 18]}'),
    ToolCall("abcdefgh2", "note", '{"text": "a \\"quoted\\" {brace}\\nand a line", "tags": []}'),
)
MORE_CALLS = (
    *CALLS,
    ToolCall("abcdefgh3", "note", '{"text": "another", "tags": [1]}'),
    ToolCall("abcdefgh4", "get_time", "{}"),
)


TOOLS = (
    ToolSpec("get_weather", "", '{"properties": {"city": {"type": "string"}}}'),
    ToolSpec("note", "", '{"properties": {"text": {"type": "string"}}}'),
)


def split(
    known: ToolFormat, pieces: Sequence[str]
) -> tuple[str, list[tuple[str, str]], CallParser]:
    """The text, the names and arguments of calls as they came, and the parser."""
    parser = CallParser(known, TOOLS)
    parts = [part for piece in pieces for part in parser.feed(piece)]
    parts += parser.flush()
    calls = join_calls(part for part in parts if isinstance(part, ToolCallDelta))
    text = "".join(part for part in parts if isinstance(part, str))
    return text, [(call.name, call.arguments) for call in calls], parser


def parse(known: ToolFormat, pieces: Sequence[str]) -> tuple[str, list[tuple[str, object]]]:
    """The text, and the names and arguments of calls."""
    text, calls, parser = split(known, pieces)
    assert parser.calls == len(calls)
    return text, [(name, json.loads(arguments)) for name, arguments in calls]


@pytest.mark.parametrize("known", TOOL_FORMATS, ids=lambda known: known.name)
@pytest.mark.parametrize("count", [1, 2])
def test_calls_are_found_wherever_the_stream_is_cut(known: ToolFormat, count: int) -> None:
    calls = CALLS[: count if known.parallel else 1]
    before = "" if known.at_start else "Let me look.\n"
    text = before + known.write(calls)
    expected = before.rstrip(), [(call.name, json.loads(call.arguments)) for call in calls]
    assert parse(known, [text]) == expected
    assert parse(known, list(text)) == expected
    for cut in range(1, len(text)):
        assert parse(known, [text[:cut], text[cut:]]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "nothing to see",
        "a < b and <tool> </tool_call>",
        "a beginning: <tool_ca",
        "space at the end \n\n",
        "<tool_call> is how a call begins, <tool_call> too",
        "<tool_call>[1, 2]</tool_call>",
    ],
)
def test_text_that_is_no_call_is_given_out_as_it_is(text: str) -> None:
    assert parse(HERMES, [text]) == (text, [])
    assert parse(HERMES, list(text)) == (text, [])


@pytest.mark.parametrize("known", TOOL_FORMATS, ids=lambda known: known.name)
def test_what_is_cut_is_text_or_a_call_that_nobody_takes_for_whole(known: ToolFormat) -> None:
    calls = MORE_CALLS if known.parallel else CALLS[:1]
    before = "" if known.at_start else "Well. "
    whole = before + known.write(calls)
    _, expected, _ = split(known, [whole])
    assert [name for name, _ in expected] == [call.name for call in calls]
    for end in range(len(before), len(whole)):
        cut = whole[:end]
        text, found, parser = split(known, [cut])
        assert split(known, list(cut))[:2] == (text, found)
        complete = parser.calls
        assert found[:complete] == expected[:complete]
        # What is no call is text as it came: nothing is lost, and nothing is there twice.
        rest = text.strip().removeprefix(before.strip()).strip()
        assert cut.rstrip().endswith(rest)
        if not found:
            assert text == cut
        for name, arguments in found[complete:]:
            assert len(found) == complete + 1
            assert name == expected[complete][0]
            assert expected[complete][1].startswith(arguments)
            assert not is_whole(ToolCall("", name, arguments))
            assert not rest


@pytest.mark.parametrize("known", TOOL_FORMATS, ids=lambda known: known.name)
def test_any_pieces_make_the_same(known: ToolFormat) -> None:
    random = Random(known.name)
    marks = [part for part in (*known.literals, *known.markers) if part]
    written = known.write(MORE_CALLS if known.parallel else CALLS[:1])
    for _ in range(150):
        pieces = [written[(a := random.randrange(len(written))) : a + random.randrange(90)]]
        pieces += random.choices([*marks, "x", " ", "\n", '"', "}", written], k=5)
        random.shuffle(pieces)
        text = "".join(pieces)
        whole = split(known, [text])
        assert split(known, list(text))[:2] == whole[:2]
        cuts = sorted(random.sample(range(len(text)), min(4, len(text))))
        at = [0, *cuts, len(text)]
        some = [text[a:b] for a, b in itertools.pairwise(at)]
        assert split(known, some)[:2] == whole[:2]
        assert len(whole[1]) <= whole[2].begun


def test_a_call_that_comes_again_is_given_out_once() -> None:
    first, second = CALLS
    again = ToolCall("abcdefgh3", second.name, second.arguments)
    other = ToolCall("abcdefgh4", second.name, '{"text": "another"}')
    for known in TOOL_FORMATS:
        if known.parallel:
            _, calls = parse(known, list(known.write([first, second, again, other])))
            assert [name for name, _ in calls] == ["get_weather", "note", "note"], known.name
            assert calls[2][1] == {"text": "another"}


VALUES: list[tuple[Any, str, Any]] = [
    ({"type": "string"}, "5", "5"),
    ({"type": "integer"}, "5", 5),
    ({"type": "boolean"}, "True", True),
    ({"type": ["string", "null"]}, "null", None),
    ({"type": ["string", "null"]}, "5", "5"),
    ({"anyOf": [{"type": "number"}, {"type": "string"}]}, "5", 5),
    ({"enum": ["1", "2"]}, "1", "1"),
    ({"$ref": "#/$defs/text"}, "[]", "[]"),
    ({"$ref": "#/$defs/loop"}, "[]", []),
    ({}, "plain text", "plain text"),
    ({"type": "number"}, "-1e999", -sys.float_info.max),
    ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
]


@pytest.mark.parametrize(("schema", "text", "value"), VALUES)
def test_the_schema_tells_texts_from_other_values(schema: Any, text: str, value: Any) -> None:
    root = {"$defs": {"text": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}}
    parameters = json.dumps({"properties": {"x": schema}, **root})
    known = next(known for known in TOOL_FORMATS if known.name == "qwen3-coder")
    parser = CallParser(known, (ToolSpec("f", "", parameters),))
    whole = f"<tool_call>\n<function=f>\n<parameter=x>\n{text}\n</parameter>\n</function>"
    parts = [*parser.feed(whole), *parser.flush()]
    (call,) = join_calls(part for part in parts if isinstance(part, ToolCallDelta))
    assert json.loads(call.arguments) == {"x": value}


def test_values_that_json_has_not_make_no_call() -> None:
    known = next(known for known in TOOL_FORMATS if known.name == "lfm2")
    for value in ("{1, 2}", "b'x'", "2j", "{1: 2}"):
        text = f"<|tool_call_start|>[note(text={value})]<|tool_call_end|>"
        assert parse(known, list(text)) == (text, [])
    text = "<|tool_call_start|>[note(text=(1, 1e999))]<|tool_call_end|>"
    assert parse(known, [text]) == ("", [("note", {"text": [1, sys.float_info.max]})])


def test_text_follows_calls() -> None:
    text = HERMES.write(CALLS[:1]) + "\nThat is all."
    assert parse(HERMES, list(text))[0] == "That is all."


def test_ids_of_kimi_have_the_name_of_the_tool() -> None:
    known = next(known for known in TOOL_FORMATS if known.name == "kimi")
    text = known.write([ToolCall("7", "note", "{}")])
    parts = [part for part in CallParser(known).feed(text) if isinstance(part, ToolCallDelta)]
    assert [call.id for call in join_calls(parts)] == ["functions.note:7"]


def test_ids_have_nine_letters_and_digits() -> None:
    assert is_short_id(make_call_id())
    assert short_id("abcDEF123") == "abcDEF123"
    made = short_id("call_0123456789")
    assert is_short_id(made)
    assert short_id("call_0123456789") == made != short_id("call_0123456788")
