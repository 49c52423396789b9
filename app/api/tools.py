"""Tools as programs offer them, in whichever protocol, as models are told of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from app.errors import ApiError
from app.models.text.tools import ToolSpec

MAX_TOOLS: Final = 128
MAX_TOOL_CHARS: Final = 262_144
"""Characters of all schemas and descriptions of a request: they are compiled, and read."""
MAX_NAME_CHARS: Final = 128
NAME_PATTERN: Final = rf"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{{0,{MAX_NAME_CHARS - 1}}}$"
BOTH_TOOLS_AND_RULES: Final = (
    "An answer can't both call tools and follow a schema or grammar of its own."
    " Leave out one of them."
)
NO_ARGUMENTS: Final = {"type": "object", "properties": {}}
"""The schema of a function for which none is given."""
_NAME: Final = re.compile(NAME_PATTERN)


class SentFunction(msgspec.Struct):
    """A function that the model may call. parameters: the JSON schema of its arguments."""

    name: Annotated[str, Meta(extra_json_schema={"pattern": NAME_PATTERN})]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(msgspec.Struct):
    function: SentFunction | None = None
    type: Annotated[str, Meta(extra_json_schema={"enum": ["function"]})] = "function"


class NamedFunction(msgspec.Struct):
    name: str


class NamedTool(msgspec.Struct):
    """The one tool to call."""

    function: NamedFunction | None = None
    type: str = "function"


def to_specs(tools: Sequence[OfferedTool]) -> tuple[ToolSpec, ...]:
    """Raises ApiError for tools that cannot be called here."""
    specs = [_spec(number, tool) for number, tool in enumerate(tools)]
    return check_specs(specs)


def _spec(number: int, tool: OfferedTool) -> ToolSpec:
    if tool.type != "function":
        raise ApiError(
            f"Models here can call functions only, not tools like “{tool.type}”.",
            param=f"tools[{number}]",
        )
    if tool.function is None:
        raise ApiError("One of the tools has no function.", param=f"tools[{number}]")
    function = tool.function
    return function_spec(function.name, function.description, function.parameters)


def check_specs(specs: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    """Raises ApiError for names that no model could write, doubled ones, and far too much."""
    if len(specs) > MAX_TOOLS:
        raise ApiError(f"Offer at most {MAX_TOOLS} tools at once.", param="tools")
    chars = sum(len(spec.description) + len(spec.parameters) for spec in specs)
    if chars > MAX_TOOL_CHARS:
        raise ApiError(
            f"These tools are too long: {chars:,} characters; at most {MAX_TOOL_CHARS:,} are read.",
            param="tools",
        )
    seen: set[str] = set()
    for number, spec in enumerate(specs):
        param = f"tools[{number}].function.name"
        if not _NAME.match(spec.name):
            raise ApiError(
                f"A tool's name has 1 to {MAX_NAME_CHARS} letters, digits, and any of _ - . : /.",
                param=param,
            )
        if spec.name in seen:
            raise ApiError(f"Two tools are called “{spec.name}”.", param=param)
        seen.add(spec.name)
    return tuple(specs)


def function_spec(name: str, description: str | None, parameters: object) -> ToolSpec:
    """Make the spec of a function; parameters: its schema, where it has one."""
    schema = msgspec.json.encode(parameters or NO_ARGUMENTS).decode()
    return ToolSpec(name, description or "", schema)


def check_rules(specs: Sequence[ToolSpec], choice: str, schema: str | None, param: str) -> None:
    """Raises ApiError for an answer that is to call tools and to follow a schema. param: the field
    with that."""
    if specs and choice != "none" and schema is not None:
        raise ApiError(
            "An answer can't both call tools and follow a schema of its own. Leave out one of"
            " them.",
            param=param,
        )


def to_choice(given: str | NamedTool | None, specs: Sequence[ToolSpec]) -> str:
    """The choice as commands have it. Raises ApiError."""
    if given is None:
        return "auto"
    if isinstance(given, str):
        if given not in {"none", "auto", "required"}:
            raise ApiError(
                "tool_choice must be none, auto, required, or name a function.", param="tool_choice"
            )
        if given == "required" and not specs:
            raise ApiError("tool_choice is required, but there are no tools.", param="tool_choice")
        return given
    name = "" if given.function is None else given.function.name
    if name not in {spec.name for spec in specs}:
        raise ApiError(f"tool_choice names “{name}”, which is no tool here.", param="tool_choice")
    return f"={name}"
