"""Grammars of tool calls: what may follow a call's marker, by the schemas of the tools.

Literal text is that of the model's family (`app/models/text/tool_formats.py`); the arguments follow
their JSON schema, to the letter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from app.inference.runner.argument_grammar import ArgumentRules, Split, literal
from app.models.text.tool_formats import HEADER, ID, NAME, CallPart, ToolFormat
from app.models.text.tools import ToolSpec

MAX_CALLS: Final = 16
"""Calls of one answer."""
_COMPOSED: Final = frozenset(
    ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "patternProperties")
)


def build_call_grammar(
    known: ToolFormat,
    tools: Sequence[ToolSpec],
    marker: str,
    split: Split,
    *,
    parallel: bool,
    patterns: bool = True,
) -> str:
    """Build the grammar of all that follows `marker`, in the library's notation.

    patterns: follow the patterns of texts, of which the library does not know all.
    """
    several = parallel and known.parallel
    arguments = ArgumentRules(known, split, patterns=patterns)
    numbers = range(len(tools))
    more = f" more{{0,{MAX_CALLS - 1}}}" if several else ""
    rules = [
        f"start: first{more} {literal(known.end, split)}",
        f"first: {' | '.join(f'first_{number}' for number in numbers)}",
    ]
    if several:
        following = " | ".join(f"next_{number}" for number in numbers)
        rules.append(f"more: {literal(known.between, split)} ({following})")
    for number, tool in enumerate(tools):
        given = arguments.add(arguments_schema(tool.parameters))
        rules.append(f"first_{number}: {_parts(known, known.after(marker), tool, given, split)}")
        if several:
            rules.append(f"next_{number}: {_parts(known, known.call, tool, given, split)}")
    if ID in known.call:
        rules.append(f"ID: /{known.id_pattern}/")
    calls = {"name": "calls", "lark_grammar": "\n".join([*rules, *arguments.rules])}
    return json.dumps({"grammars": [calls, *arguments.schemas]})


def arguments_schema(parameters: str) -> dict[str, Any]:
    """Parse the schema of a tool's arguments, which are an object. Raises ValueError."""
    try:
        schema = json.loads(parameters or "{}")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if schema is None or schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - whatever is wrong with it
    if not _COMPOSED & schema.keys():
        schema = {"type": "object", **schema}
    closed: dict[str, Any] = _closed(schema)
    return closed


def _closed(schema: Any) -> Any:
    """Allow no properties beside those that are named, unless the schema says otherwise: small
    models would lose themselves in them."""
    if not isinstance(schema, dict) or _COMPOSED & schema.keys():
        return schema
    made = dict(schema)
    properties = made.get("properties")
    if isinstance(properties, dict):
        made["properties"] = {name: _closed(one) for name, one in properties.items()}
        made.setdefault("additionalProperties", False)
    if isinstance(made.get("items"), dict):
        made["items"] = _closed(made["items"])
    return made


def _parts(
    known: ToolFormat, parts: Sequence[CallPart], tool: ToolSpec, arguments: str, split: Split
) -> str:
    made = []
    for part in parts:
        if isinstance(part, str):
            made.append(literal(part, split))
        elif part is NAME:
            made.append(literal(tool.name, split))
        elif part is ID:
            made.append("ID")
        elif part is HEADER:
            headers = [literal(header, split) or '""' for header in known.headers]
            made.append(f"({' | '.join(headers)})")
        else:
            made.append(arguments)
    return " ".join(filter(None, made)) or '""'
