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
from itertools import starmap
from typing import Any, Final, Literal

from app.models.text.argument_values import (
    close_cdata,
    write_gemma_fields,
    write_python_fields,
    write_value,
)
from app.models.text.tools import ToolCall


class Slot(Enum):
    """Slot of a call or a parameter, for text that differs."""

    NAME = "name"
    ARGUMENTS = "arguments"
    ID = "id"
    HEADER = "header"
    KEY = "key"
    KIND = "kind"
    VALUE = "value"


NAME, ARGUMENTS, ID, HEADER, KEY, KIND, VALUE = Slot
CallPart = str | Slot
ArgumentStyle = Literal["json", "tags", "gemma", "python"]


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """Format in which a family writes calls.

    marker: the text from which on it is a call; aliases: others, behind which all of a call comes.
    call: the parts of a call; arguments: how its arguments are written, by `parameter` for tags,
    whose values stand in CDATA blocks where that is `has_cdata`. hints: texts that stand in the
    template of such a model; special: names that only its special tokens have. parallel: whether an
    answer may have several calls. at_start: whether a call counts only where an answer begins.
    in_header: whether the marker stands in the header of a message; headers: what may stand between
    a name and the end of the header. forced: what begins a call where one must come, if not the
    marker. id_pattern: of ids that the model writes; quote: what stands around texts in
    Gemma's notation; long_id: the id that templates write, which has the name of the tool in it.
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
    headers: tuple[str, ...] = ()
    forced: str = ""
    has_cdata: bool = False
    id_pattern: str = "[A-Za-z0-9]{9}"
    quote: str = '<|"|>'
    long_id: str = ""

    @property
    def markers(self) -> tuple[str, ...]:
        """List the texts at which calls may begin, longest first."""
        return tuple(sorted((self.marker, *self.aliases), key=len, reverse=True))

    @property
    def literals(self) -> tuple[str, ...]:
        """List the texts that stand in calls."""
        parts = (*self.call, *self.parameter)
        own = tuple(part for part in parts if isinstance(part, str))
        quotes = (self.quote,) if self.arguments == "gemma" else ()
        return (self.begin, self.between, self.end, *own, *self.headers, *quotes)

    @property
    def text_ends(self) -> tuple[str, ...]:
        """List what ends a text among arguments that are not JSON."""
        ends = (self.quote,) if self.arguments == "gemma" else self.parameter[-1:]
        return tuple(end for end in ends if isinstance(end, str))

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
        values = {
            NAME: call.name,
            ID: call.id,
            HEADER: self.headers[0] if self.headers else "",
            ARGUMENTS: self._write_arguments(parse_arguments(call.arguments)),
        }
        return "".join(part if isinstance(part, str) else values[part] for part in self.call)

    def _write_arguments(self, arguments: dict[str, Any]) -> str:
        match self.arguments:
            case "json":
                return dump(arguments)
            case "gemma":
                return write_gemma_fields(arguments, self.quote)
            case "python":
                return write_python_fields(arguments)
            case "tags":
                return "".join(starmap(self._write_parameter, arguments.items()))

    def _write_parameter(self, key: str, value: Any) -> str:
        text = write_value(value)
        values = {
            KEY: key,
            KIND: "true" if isinstance(value, str) else "false",
            VALUE: close_cdata(text) if self.has_cdata and isinstance(value, str) else text,
        }
        return "".join(part if isinstance(part, str) else values[part] for part in self.parameter)


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
_FUNCTION_CALL: Final = ("<function=", NAME, ">\n", ARGUMENTS, "</function>")
HERMES: Final = ToolFormat(
    "hermes",
    "<tool_call>",
    begin="<tool_call>\n",
    call=_JSON_CALL,
    between="\n</tool_call>\n<tool_call>\n",
    end="\n</tool_call>",
    hints=("<tool_call>",),
)
TOOL_FORMATS: Final = (
    ToolFormat(
        "harmony",
        " to=functions.",
        begin="",
        call=(" to=functions.", NAME, HEADER, "<|message|>", ARGUMENTS),
        hints=("<|channel|>commentary",),
        parallel=False,
        in_header=True,
        headers=(
            "<|channel|>commentary json",
            " <|constrain|>json",
            "<|channel|>commentary <|constrain|>json",
            "",
        ),
        forced="<|channel|>commentary to=functions.",
    ),
    ToolFormat(
        "gemma",
        "<|tool_call>",
        begin="<|tool_call>",
        call=("call:", NAME, "{", ARGUMENTS, "}"),
        between="<tool_call|><|tool_call>",
        end="<tool_call|>",
        arguments="gemma",
        hints=("<|tool_call>",),
    ),
    ToolFormat(
        "functiongemma",
        "<start_function_call>",
        begin="<start_function_call>",
        call=("call:", NAME, "{", ARGUMENTS, "}"),
        between="<end_function_call><start_function_call>",
        end="<end_function_call>",
        arguments="gemma",
        hints=("<start_function_call>",),
        quote="<escape>",
    ),
    ToolFormat(
        "kimi",
        "<|tool_calls_section_begin|>",
        begin="<|tool_calls_section_begin|>",
        call=(
            *("<|tool_call_begin|>functions.", NAME, ":", ID, "<|tool_call_argument_begin|>"),
            *(ARGUMENTS, "<|tool_call_end|>"),
        ),
        end="<|tool_calls_section_end|>",
        hints=("<|tool_calls_section_begin|>",),
        id_pattern="[0-9]{1,3}",
        long_id="functions.{name}:{id}",
    ),
    ToolFormat(
        "mistral-small",
        "[TOOL_CALLS]",
        begin="[TOOL_CALLS]",
        call=("", NAME, "[CALL_ID]", ID, "[ARGS]", ARGUMENTS),
        between="[TOOL_CALLS]",
        hints=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    ),
    ToolFormat(
        "ministral",
        "[TOOL_CALLS]",
        begin="[TOOL_CALLS]",
        call=("", NAME, "[ARGS]", ARGUMENTS),
        between="[TOOL_CALLS]",
        hints=("[TOOL_CALLS]", "[ARGS]"),
    ),
    ToolFormat(
        "mistral-nemo",
        "[TOOL_CALLS]",
        begin="[TOOL_CALLS][",
        call=('{"name": "', NAME, '", "arguments": ', ARGUMENTS, ', "id": "', ID, '"}'),
        between=", ",
        end="]",
        hints=("[TOOL_CALLS]",),
    ),
    ToolFormat(
        "deepseek-v3.2",
        "<｜DSML｜function_calls>",
        begin="<｜DSML｜function_calls>\n",
        call=('<｜DSML｜invoke name="', NAME, '">\n', ARGUMENTS, "</｜DSML｜invoke>"),
        between="\n",
        end="\n</｜DSML｜function_calls>",
        arguments="tags",
        parameter=(
            *('<｜DSML｜parameter name="', KEY, '" string="', KIND, '">', VALUE),
            "</｜DSML｜parameter>\n",
        ),
        hints=("｜DSML｜",),
    ),
    ToolFormat(
        "deepseek-r1",
        "<｜tool▁calls▁begin｜>",
        begin="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
        call=(
            *("function<｜tool▁sep｜>", NAME, "\n```json\n", ARGUMENTS),
            "\n```<｜tool▁call▁end｜>",
        ),
        between="\n<｜tool▁call▁begin｜>",
        end="<｜tool▁calls▁end｜>",
        hints=("<｜tool▁calls▁begin｜>", "```json"),
    ),
    ToolFormat(
        "deepseek-v3.1",
        "<｜tool▁calls▁begin｜>",
        begin="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
        call=("", NAME, "<｜tool▁sep｜>", ARGUMENTS, "<｜tool▁call▁end｜>"),
        between="<｜tool▁call▁begin｜>",
        end="<｜tool▁calls▁end｜>",
        hints=("<｜tool▁calls▁begin｜>",),
    ),
    ToolFormat(
        "cohere",
        "<|START_ACTION|>",
        begin="<|START_ACTION|>[\n    ",
        call=(
            *('{"tool_call_id": "', ID, '", "tool_name": "', NAME),
            *('", "parameters": ', ARGUMENTS, "}"),
        ),
        between=",\n    ",
        end="\n]<|END_ACTION|>",
        hints=("<|START_ACTION|>",),
        id_pattern="[0-9]{1,3}",
    ),
    ToolFormat(
        "phi-4-mini",
        "<|tool_call|>",
        begin="<|tool_call|>[",
        call=_JSON_CALL,
        between=", ",
        end="]<|/tool_call|>",
        hints=("<|tool|>", "<|/tool|>"),
    ),
    ToolFormat(
        "granite-3",
        "<|tool_call|>",
        begin="<|tool_call|>[",
        call=_JSON_CALL,
        between=", ",
        end="]",
        hints=("<|tool_call|>",),
    ),
    ToolFormat(
        "lfm2",
        "<|tool_call_start|>",
        begin="<|tool_call_start|>[",
        call=("", NAME, "(", ARGUMENTS, ")"),
        between=", ",
        end="]<|tool_call_end|>",
        arguments="python",
        special=("<|tool_call_start|>", "<|tool_call_end|>"),
        hints=("<|tool_list_start|>",),
    ),
    ToolFormat(
        "hunyuan",
        "<tool_calls>",
        begin="<tool_calls>[",
        call=_JSON_CALL,
        between=", ",
        end="]</tool_calls>",
        hints=("<tool_calls>",),
    ),
    ToolFormat(
        "muse",
        "<atem:function_calls>",
        begin="<atem:function_calls>\n",
        call=('<atem:invoke name="', NAME, '">\n', ARGUMENTS, "</atem:invoke>"),
        between="\n",
        end="\n</atem:function_calls>",
        arguments="tags",
        parameter=('<atem:parameter name="', KEY, '">', VALUE, "</atem:parameter>\n"),
        hints=("<atem:function_calls>",),
    ),
    ToolFormat(
        "olmo-3",
        "<function_calls>",
        begin="<function_calls>",
        call=("", NAME, "(", ARGUMENTS, ")"),
        between="\n",
        end="</function_calls>",
        arguments="python",
        hints=("<function_calls>",),
    ),
    ToolFormat(
        "minimax",
        "<minimax:tool_call>",
        begin="<minimax:tool_call>\n",
        call=('<invoke name="', NAME, '">\n', ARGUMENTS, "</invoke>"),
        between="\n",
        end="\n</minimax:tool_call>",
        arguments="tags",
        parameter=('<parameter name="', KEY, '">', VALUE, "</parameter>\n"),
        hints=("<minimax:tool_call>",),
    ),
    ToolFormat(
        "minicpm",
        '<function name="',
        begin="",
        call=('<function name="', NAME, '">', ARGUMENTS, "</function>"),
        between="\n",
        arguments="tags",
        parameter=('<param name="', KEY, '">', VALUE, "</param>"),
        hints=('<function name="',),
        has_cdata=True,
    ),
    ToolFormat(
        "seed",
        "<seed:tool_call>",
        begin="<seed:tool_call>\n",
        call=_FUNCTION_CALL,
        between="\n</seed:tool_call>\n<seed:tool_call>\n",
        end="\n</seed:tool_call>",
        arguments="tags",
        parameter=("<parameter=", KEY, ">", VALUE, "</parameter>\n"),
        hints=("<seed:tool_call>",),
    ),
    ToolFormat(
        "qwen3-coder",
        "<tool_call>",
        begin="<tool_call>\n",
        call=_FUNCTION_CALL,
        between="\n</tool_call>\n<tool_call>\n",
        end="\n</tool_call>",
        arguments="tags",
        parameter=("<parameter=", KEY, ">\n", VALUE, "\n</parameter>\n"),
        hints=("<tool_call>", "<function="),
    ),
    ToolFormat(
        "glm-4.7",
        "<tool_call>",
        begin="<tool_call>",
        call=("", NAME, ARGUMENTS, "</tool_call>"),
        between="<tool_call>",
        arguments="tags",
        parameter=("<arg_key>", KEY, "</arg_key><arg_value>", VALUE, "</arg_value>"),
        hints=("</arg_key><arg_value>",),
    ),
    ToolFormat(
        "glm-4.5",
        "<tool_call>",
        begin="<tool_call>",
        call=("", NAME, "\n", ARGUMENTS, "</tool_call>"),
        between="\n<tool_call>",
        arguments="tags",
        parameter=("<arg_key>", KEY, "</arg_key>\n<arg_value>", VALUE, "</arg_value>\n"),
        hints=("<arg_key>",),
    ),
    HERMES,
    ToolFormat(
        "llama-3",
        '{"name": "',
        begin="",
        call=('{"name": "', NAME, '", "parameters": ', ARGUMENTS, "}"),
        hints=('"parameters": ', "ipython"),
        aliases=("<|python_tag|>",),
        parallel=False,
        at_start=True,
    ),
)
"""Those that are told apart by more come first. A template that fits none is told of tools in the
words of Hermes."""


def find_tool_format(template: str, special: Collection[str] = ()) -> ToolFormat:
    """The format of a model by its chat template and the names of its special tokens."""
    for known in TOOL_FORMATS:
        if known.special and set(known.special) <= set(special):
            return known
        if known.hints and all(hint in template for hint in known.hints):
            return known
    return HERMES


_ID: Final = re.compile(r"[A-Za-z0-9]{9}")
ID_CHARS: Final = 9


def is_short_id(text: str) -> bool:
    """True for an id that every template takes: exactly nine letters and digits."""
    return _ID.fullmatch(text) is not None
