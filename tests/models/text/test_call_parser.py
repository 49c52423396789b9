"""Calls of tools are told from text, however the text comes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.models.text.call_parser import CallParser, make_call_id, short_id
from app.models.text.tool_formats import HERMES, TOOL_FORMATS, ToolFormat, is_short_id
from app.models.text.tools import ToolCall, ToolCallDelta, join_calls

CALLS = (
    ToolCall("abcdefgh1", "get_weather", '{"city": "Paris", "days": 3, "hours": [6, 18]}'),
    ToolCall("abcdefgh2", "note", '{"text": "a \\"quoted\\" {brace}\\nand a line", "tags": []}'),
)


def parse(known: ToolFormat, pieces: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
    """The text, and the names and arguments of calls."""
    parser = CallParser(known)
    parts = [part for piece in pieces for part in parser.feed(piece)]
    parts += parser.flush()
    calls = join_calls(part for part in parts if isinstance(part, ToolCallDelta))
    text = "".join(part for part in parts if isinstance(part, str))
    assert parser.calls == len(calls)
    return text, [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize("known", TOOL_FORMATS, ids=lambda known: known.name)
@pytest.mark.parametrize("count", [1, 2])
def test_calls_are_found_wherever_the_stream_is_cut(known: ToolFormat, count: int) -> None:
    calls = CALLS[: count if known.parallel else 1]
    before = "" if known.at_start else "Let me look.\n"
    text = before + known.write(calls)
    expected = before.rstrip(), [(call.name, call.arguments) for call in calls]
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


def test_a_call_that_is_cut_is_not_complete() -> None:
    parser = CallParser(HERMES)
    parts = [*parser.feed('<tool_call>\n{"name": "look", "arguments": {"at": "sk'), *parser.flush()]
    calls = join_calls(part for part in parts if isinstance(part, ToolCallDelta))
    assert [(call.name, call.arguments) for call in calls] == [("look", '{"at": "sk')]
    assert parser.calls == 0


def test_text_follows_calls() -> None:
    text = HERMES.write(CALLS[:1]) + "\nThat is all."
    assert parse(HERMES, list(text))[0] == "That is all."


def test_ids_have_nine_letters_and_digits() -> None:
    assert is_short_id(make_call_id())
    assert short_id("abcDEF123") == "abcDEF123"
    made = short_id("call_0123456789")
    assert is_short_id(made)
    assert short_id("call_0123456789") == made != short_id("call_0123456788")
