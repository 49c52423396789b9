"""Schemas of tools: those that models can be held to, simpler ones, or none."""

from __future__ import annotations

import json
from typing import Any, Final

from app.tools.mcp.protocol import MAX_SCHEMA_BYTES

MAX_DEPTH: Final = 32
KEPT: Final = frozenset(
    {"type", "description", "properties", "required", "items", "enum", "const", "anyOf"}
)
"""What every grammar can follow."""
Schema = dict[str, Any]


class SchemaUnusable(ValueError):
    """Error whose text says what is wrong with a schema, as the end of a sentence."""


def usable_schema(given: Schema) -> Schema:
    """Return the schema, or a simpler one where grammars cannot follow it.

    Raises SchemaUnusable. The server checks arguments itself: this is for the model.
    """
    try:
        size = len(json.dumps(given).encode())
    except (RecursionError, ValueError):
        raise SchemaUnusable("are nested too deeply") from None
    if size > MAX_SCHEMA_BYTES:
        raise SchemaUnusable(f"take more than {MAX_SCHEMA_BYTES >> 10} kB to describe")
    if _depth(given) > MAX_DEPTH:
        raise SchemaUnusable("are nested too deeply")
    schema = {"properties": {}, **given, "type": "object"}
    if given.get("type", "object") != "object" or not isinstance(schema["properties"], dict):
        raise SchemaUnusable("are no object")
    for candidate in (schema, _simplified(schema)):
        if _is_followed(candidate):
            return candidate
    raise SchemaUnusable("make no sense")


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _is_followed(schema: Schema) -> bool:
    """Tell whether a grammar can be made; references outside of the schema make none."""
    from llguidance import LLMatcher

    try:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
        return not LLMatcher.validate_grammar(grammar, None)
    except ValueError:
        return False


def _simplified(schema: Any) -> Any:
    """Keep names, types and descriptions: what a model reads."""
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name in KEPT}
    properties = kept.get("properties")
    if isinstance(properties, dict):
        kept["properties"] = {name: _simplified(value) for name, value in properties.items()}
    if isinstance(kept.get("items"), dict):
        kept["items"] = _simplified(kept["items"])
    if isinstance(kept.get("anyOf"), list):
        kept["anyOf"] = [_simplified(one) for one in kept["anyOf"]]
    return kept
