"""Schemas that a server gives: what a grammar can follow, or a reason."""

from __future__ import annotations

from typing import Any

import pytest

from app.tools.mcp.child.schemas import SchemaUnusable, usable_schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string"}, "are no object"),
        ({"type": "object", "properties": []}, "are no object"),
        ({"type": "object", "properties": {"a": 5}}, "make no sense"),
        ({"type": "object", "description": "x" * 20_000}, "take more than 16 kB to describe"),
    ],
)
def test_what_cannot_be_used_says_why(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(SchemaUnusable, match=reason):
        usable_schema(schema)


def test_a_schema_inside_itself_is_refused() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"a": schema}
    with pytest.raises(SchemaUnusable, match="nested too deeply"):
        usable_schema(schema)


def test_what_grammars_cannot_follow_is_simplified() -> None:
    given = {
        "properties": {
            "a": {"type": "array", "items": {"type": "string", "pattern": "(?!x)"}},
            "b": {"anyOf": [{"type": "integer", "not": {"const": 3}}, {"type": "null"}]},
        },
        "required": ["a"],
        "if": {},
    }
    assert usable_schema(given) == {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["a"],
    }
