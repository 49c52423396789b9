"""Formats in which models call tools: one table of families, for parser, grammar and templates.

Calls are written as `begin`, the calls with `between` in between, and `end`. A call is literal text
with slots in it. The facts are those of the families' own chat templates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from app.models.text.tools import ToolCall


class Slot(Enum):
    """Slot of a call or a parameter, for text that differs."""

    NAME = "name"
    ARGUMENTS = "arguments"
    ID = "id"
    KEY = "key"
    VALUE = "value"


NAME, ARGUMENTS, ID, KEY, VALUE = Slot
CallPart = str | Slot
ArgumentStyle = Literal["json", "tags", "gemma", "python"]


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """Format in which a family writes calls.

    marker: the text from which on it is a call; aliases: others, behind which all of a call comes.
    call: the parts of a call; arguments: how its arguments are written, by `parameter` for tags.
    hints: texts that stand in the template of such a model; special: names that only its special
    tokens have. parallel: whether an answer may have several calls. at_start: whether a call
    counts only where an answer begins. in_header: whether the marker stands in the header of a
    message. forced: what begins a call where one must come, if not the marker.
    """

    name: str
    marker: str
    begin: str
    call: tuple[CallPart, ...]
    between: str = ""
    end: str = ""
    arguments: ArgumentStyle = "json"
    parameter: tuple[CallPart, ...] = ()
    hints: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    parallel: bool = True
    at_start: bool = False
    in_header: bool = False
    forced: str = ""

    @property
    def markers(self) -> tuple[str, ...]:
        """List the texts at which calls may begin, longest first."""
        return tuple(sorted((self.marker, *self.aliases), key=len, reverse=True))

    @property
    def has_ids(self) -> bool:
        """True if the model itself writes the id of a call."""
        return ID in self.call

    @property
    def literals(self) -> tuple[str, ...]:
        """List the texts that stand in calls."""
        parts = (*self.call, *self.parameter)
        own = tuple(part for part in parts if isinstance(part, str))
        return (self.begin, self.between, self.end, *own)

    def parts(self) -> tuple[CallPart, ...]:
        """The parts of the first call, from its marker on."""
        head, *rest = self.call
        assert isinstance(head, str)  # noqa: S101 - every call begins with text
        return (self.begin + head, *rest)

    def after(self, marker: str) -> tuple[CallPart, ...]:
        """The parts of the first call that follow one of the markers."""
        first, *rest = self.parts()
        assert isinstance(first, str)  # noqa: S101 - every call begins with text
        return (first.removeprefix(marker) if marker == self.marker else first, *rest)

    def write(self, calls: Sequence[ToolCall]) -> str:
        """Write calls as the model does."""
        if not calls:
            return ""
        return self.begin + self.between.join(map(self._write_call, calls)) + self.end

    def _write_call(self, call: ToolCall) -> str:
        values = {NAME: call.name, ID: call.id, ARGUMENTS: self._write_arguments(call)}
        return "".join(part if isinstance(part, str) else values[part] for part in self.call)

    def _write_arguments(self, call: ToolCall) -> str:
        return dump(parse_arguments(call.arguments))


def dump(value: object) -> str:
    """Write JSON as templates do."""
    return json.dumps(value, ensure_ascii=False)


def parse_arguments(text: str) -> dict[str, Any]:
    """Parse the arguments of a call in a history; what is no object is kept under one name."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"input": value}


_JSON_CALL: Final = ('{"name": "', NAME, '", "arguments": ', ARGUMENTS, "}")
HERMES: Final = ToolFormat(
    "hermes",
    "<tool_call>",
    begin="<tool_call>\n",
    call=_JSON_CALL,
    between="\n</tool_call>\n<tool_call>\n",
    end="\n</tool_call>",
)
TOOL_FORMATS: Final = (HERMES,)
"""Those that are told apart by more come first; the last one is for all others."""


def find_tool_format(template: str, special: Collection[str] = ()) -> ToolFormat:
    """The format of a model by its chat template and the names of its special tokens."""
    for known in TOOL_FORMATS:
        if known.special and set(known.special) <= set(special):
            return known
        if known.hints and all(hint in template for hint in known.hints):
            return known
    return HERMES


# What models without tools of their own are told of them, in the words of Hermes and Qwen.

_PLAIN_TOOLS: Final = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def describe_tools(tools: Sequence[dict[str, Any]]) -> str:
    """Describe tools for a model whose template knows none."""
    return _PLAIN_TOOLS.format(tools="\n".join(map(dump, tools)))


def describe_result(text: str) -> str:
    """Describe a result for a model whose template knows none."""
    return f"<tool_response>\n{text}\n</tool_response>"


_ID: Final = re.compile(r"[A-Za-z0-9]{9}")
ID_CHARS: Final = 9


def is_short_id(text: str) -> bool:
    """True for an id that every template takes: exactly nine letters and digits."""
    return _ID.fullmatch(text) is not None
