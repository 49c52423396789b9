"""Tools, calls and results in the words of a chat template: what it knows of them, and the rest.

What a template cannot write stands in the text of messages, as the model's family writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.errors import TemplateError
from app.models.model import Turn, join_turns
from app.models.text.call_parser import short_id
from app.models.text.tool_formats import (
    HERMES,
    ToolFormat,
    dump,
    parse_arguments,
)
from app.models.text.tools import ToolCall, ToolSpec

_WANTS_SHORT_IDS: Final = re.compile(r"length\s*[!=]=\s*9\b")
_KEYWORDS: Final = frozenset(
    (
        *("type", "properties", "required", "description", "enum", "items", "title", "default"),
        *("function", "name", "parameters", "additionalProperties", "format", "nullable", "const"),
        *("anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "minimum", "maximum"),
        *("object", "string", "number", "integer", "boolean", "array", "null"),
    )
)
"""Words of schemas, for which templates look."""
Guard = Callable[[Any], Any]
"""Breaks the names of special tokens in all texts of a value."""
Message = dict[str, Any]
Render = Callable[[Sequence[Message], Sequence[Message]], str]
"""Renders messages and tools."""


@dataclass(frozen=True, slots=True)
class ToolSupport:
    """Abilities of a template to write: the tools, calls, several of them at once, and results.

    takes_text: arguments must be JSON as text. short_ids: ids must have nine letters and digits.
    """

    tools: bool = False
    calls: bool = False
    several: bool = False
    results: bool = False
    takes_text: bool = False
    short_ids: bool = False


_PLAIN: Final = ToolSupport()
_ASKED: Final[Message] = {"role": "user", "content": "question"}
_TOOL: Final = ToolSpec("probe_tool", "probe", '{"type": "object", "properties": {}}')


def probe_support(source: str, render: Render) -> ToolSupport:
    """Find out what a template writes, by small conversations."""
    if "tool" not in source:
        return _PLAIN
    tools = [describe_spec(_TOOL, lambda value: value)]

    def shows(calls: int, *, takes_text: bool) -> tuple[bool, bool]:
        arguments = [{"probe_key": f"probe_value{number}"} for number in range(calls)]
        sent = [
            {
                "id": f"probe000{number}",
                "type": "function",
                "function": {"name": "probe_tool", "arguments": dump(one) if takes_text else one},
            }
            for number, one in enumerate(arguments)
        ]
        results = [
            {
                "role": "tool",
                "content": f"probe_result{number}",
                "tool_call_id": f"probe000{number}",
                "name": "probe_tool",
            }
            for number in range(calls)
        ]
        asked: Message = {"role": "assistant", "content": "", "tool_calls": sent}
        text = _tried(render, [_ASKED, asked, *results], tools)
        return (
            all(f"probe_value{number}" in text for number in range(calls)),
            all(f"probe_result{number}" in text for number in range(calls)),
        )

    takes_text = False
    writes_calls, writes_results = shows(1, takes_text=False)
    if not writes_calls and (found := shows(1, takes_text=True))[0]:
        takes_text, (writes_calls, writes_results) = True, found
    return ToolSupport(
        tools="probe_tool" in _tried(render, [_ASKED], tools),
        calls=writes_calls,
        several=writes_calls and all(shows(2, takes_text=takes_text)),
        results=writes_results,
        takes_text=takes_text,
        short_ids=_WANTS_SHORT_IDS.search(source) is not None,
    )


def _tried(render: Render, messages: Sequence[Message], tools: Sequence[Message]) -> str:
    try:
        return render(messages, tools)
    except TemplateError:
        return ""


# What models without tools of their own are told of them, in the words of Hermes and Qwen.

_PLAIN_TOOLS: Final = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return {how}:
{call}"""
_HOW: Final = (
    "a json object with function name and arguments within <tool_call></tool_call> XML tags"
)
_EXAMPLE: Final = ToolCall("", "<function-name>", '{"name": "value"}')


def describe_tools(tools: Sequence[Message], known: ToolFormat) -> str:
    """Describe tools for a model whose template does not, and how it calls them."""
    is_hermes = known is HERMES
    return _PLAIN_TOOLS.format(
        tools="\n".join(map(dump, tools)),
        how=_HOW if is_hermes else "it exactly in this form",
        call=known.write([_EXAMPLE]).replace('{"name": "value"}', "<args-json-object>"),
    )


def describe_result(text: str) -> str:
    """Describe a result for a model whose template knows none."""
    return f"<tool_response>\n{text}\n</tool_response>"


def arrange_turns(
    turns: Sequence[Turn], tools: Sequence[ToolSpec], support: ToolSupport, known: ToolFormat
) -> list[Turn]:
    """Arrange turns as a template can write them. Calls stay with their turns."""
    made = list(turns)
    if tools and not support.tools:
        described = [describe_spec(tool, _as_it_is) for tool in tools]
        told = Turn("system", describe_tools(described, known))
        if made and made[0].role == "system":
            made[0] = join_turns(made[0], told)
        else:
            made.insert(0, told)
    if not support.several:
        made = _one_by_one(made) if support.calls else made
    return made if support.results else _results_as_text(made)


def _one_by_one(turns: Sequence[Turn]) -> list[Turn]:
    """Make a turn of each call, followed by its result."""
    made: list[Turn] = []
    results = {turn.call_id: turn for turn in turns if turn.role == "tool"}
    moved: set[str] = set()
    for turn in turns:
        if len(turn.calls) < 2:
            if turn.role != "tool" or turn.call_id not in moved:
                made.append(turn)
            continue
        for number, call in enumerate(turn.calls):
            first = turn if number == 0 else Turn("assistant", "")
            made.append(replace(first, calls=(call,)))
            if call.id in results and call.id not in moved:
                moved.add(call.id)
                made.append(results[call.id])
    return made


def _results_as_text(turns: Sequence[Turn]) -> list[Turn]:
    """Make the user's words of results; those in a row, and the user's own behind them, as one."""
    made: list[Turn] = []
    was_result = False
    for turn in turns:
        is_result = turn.role == "tool"
        one = Turn("user", describe_result(turn.content)) if is_result else turn
        if was_result and one.role == "user":
            separator = "\n" if is_result else "\n\n"
            made[-1] = made[-1].followed_by(one, separator)
        else:
            made.append(one)
        was_result = one.role == "user" and (is_result or was_result)
    return made


def write_content(turn: Turn, support: ToolSupport, known: ToolFormat, guard: Guard) -> str:
    """Write the content of a turn, with its calls where the template writes none."""
    content: str = guard(turn.content)
    if not turn.calls or support.calls:
        return content
    calls = [
        ToolCall(short_id(call.id), guard(call.name), dump(_guarded(call.arguments, guard)))
        for call in turn.calls
    ]
    return "\n".join(filter(None, (content, known.write(calls))))


def describe_calls(turn: Turn, support: ToolSupport, guard: Guard) -> Message:
    """The fields of a message that are about tools."""
    if turn.role == "tool":
        about = {"name": guard(turn.tool)} if turn.tool else {}
        return {"tool_call_id": _id(turn.call_id, support, guard), **about}
    if not turn.calls or not support.calls:
        return {}
    calls = []
    for call in turn.calls:
        arguments = _guarded(call.arguments, guard)
        given = dump(arguments) if support.takes_text else arguments
        calls.append(
            {
                "id": _id(call.id, support, guard),
                "type": "function",
                "function": {"name": guard(call.name), "arguments": given},
            }
        )
    return {"tool_calls": calls}


def describe_spec(tool: ToolSpec, guard: Guard) -> Message:
    """A tool as templates are told of it."""
    try:
        parameters = json.loads(tool.parameters or "{}")
    except (ValueError, RecursionError):
        parameters = {}
    return {
        "type": "function",
        "function": {
            "name": guard(tool.name),
            "description": guard(tool.description),
            "parameters": guard_deeply(parameters, guard),
        },
    }


def guard_deeply(value: Any, guard: Guard) -> Any:
    """Guard all texts of a value, the names of its fields too."""
    if isinstance(value, str):
        return value if value in _KEYWORDS else guard(value)
    if isinstance(value, Mapping):
        return {guard_deeply(key, guard): guard_deeply(one, guard) for key, one in value.items()}
    return [guard_deeply(one, guard) for one in value] if isinstance(value, list) else value


def _guarded(arguments: str, guard: Guard) -> Any:
    return guard_deeply(parse_arguments(arguments), guard)


def _id(text: str, support: ToolSupport, guard: Guard) -> str:
    return short_id(text) if support.short_ids else guard(text)


def _as_it_is(value: Any) -> Any:
    return value
