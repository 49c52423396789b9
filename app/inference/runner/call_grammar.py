"""Grammars of tool calls: what may follow a call's marker, by the schemas of the tools.

Literal text is that of the model's family (`app/models/text/tool_formats.py`); the arguments follow
their JSON schema, to the letter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from app.models.text.tool_formats import ARGUMENTS, ID, ID_CHARS, NAME, CallPart, ToolFormat
from app.models.text.tools import ToolSpec

MAX_CALLS: Final = 16
"""Calls of one answer."""
STYLE: Final = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,
}
"""How arguments are written: as templates do. What the library cannot follow is passed over, since
schemas come from anywhere."""
_COMPOSED: Final = frozenset(
    ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "patternProperties")
)
Split = Callable[[str], Sequence[int | str]]
"""Splits text at the names of special tokens, which become their ids."""


def build_call_grammar(
    known: ToolFormat, tools: Sequence[ToolSpec], marker: str, split: Split, *, parallel: bool
) -> str:
    """Build the grammar of all that follows `marker`, in the library's notation."""
    several = parallel and known.parallel
    rules = [
        f"start: first{_literal(known.end, split, ' ')}",
        f"first: {' | '.join(f'first_{number}' for number in range(len(tools)))}",
    ]
    if several:
        rules[0] = f"start: first more{{0,{MAX_CALLS - 1}}}{_literal(known.end, split, ' ')}"
        rules.append(
            f"more: {_literal(known.between, split)}"
            f" ({' | '.join(f'next_{number}' for number in range(len(tools)))})"
        )
    for number, tool in enumerate(tools):
        rules.append(f"first_{number}: {_parts(known.after(marker), tool, number, split)}")
        if several:
            rules.append(f"next_{number}: {_parts(known.call, tool, number, split)}")
    if known.has_ids:
        rules.append(f"ID: /[A-Za-z0-9]{{{ID_CHARS}}}/")
    schemas = [
        {"name": f"arguments_{number}", "json_schema": arguments_schema(tool.parameters)}
        for number, tool in enumerate(tools)
    ]
    grammars = [{"name": "calls", "lark_grammar": "\n".join(rules)}, *schemas]
    return json.dumps({"grammars": grammars})


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
    return {**closed, "x-guidance": STYLE}


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


def _parts(parts: Sequence[CallPart], tool: ToolSpec, number: int, split: Split) -> str:
    made = []
    for part in parts:
        if isinstance(part, str):
            made.append(_literal(part, split))
        elif part is NAME:
            made.append(_literal(tool.name, split))
        elif part is ID:
            made.append("ID")
        elif part is ARGUMENTS:
            made.append(f"@arguments_{number}")
    return " ".join(filter(None, made))


def _literal(text: str, split: Split, before: str = "") -> str:
    """Write text in the grammar's notation."""
    parts = [f"<[{part}]>" if isinstance(part, int) else json.dumps(part) for part in split(text)]
    return before + " ".join(parts) if parts else ""
