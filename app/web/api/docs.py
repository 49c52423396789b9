"""`/docs/api`: the same document for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from quart import Blueprint, Response

from app.web.api.openapi import openapi
from app.web.base_path import public_url
from app.web.state import server_context

page_blueprint = Blueprint("api_docs", __name__)


@dataclass(frozen=True, slots=True)
class DocField:
    name: str
    kind: str
    description: str
    is_required: bool


@page_blueprint.get("/docs/api")
async def page() -> Response:
    document = openapi()
    html = server_context().fragments.render(
        "docs_api.html",
        document=document,
        operations=_operations(document),
        shapes=document["components"]["schemas"],
        fields=fields_of,
        kind=kind_of,
        shape=shape_of,
        origin=public_url(""),
    )
    return Response(html, content_type="text/html; charset=utf-8")


def _operations(document: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Method, path and operation, by tag."""
    found: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    return found


def shape_of(content: dict[str, Any] | None) -> str:
    """The name of the shape that a body has, if it has one."""
    schema = (content or {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).rpartition("/")[2]


def fields_of(schema: dict[str, Any]) -> list[DocField]:
    required = set(schema.get("required", ()))
    return [
        DocField(name, kind_of(given), given.get("description", ""), name in required)
        for name, given in schema.get("properties", {}).items()
    ]


def kind_of(schema: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        kinds = [kind_of(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " or ".join(json.dumps(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    kind = str(schema.get("type", "anything"))
    return kind + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f", {low:,} to {high:,}"
    if low is not None:
        return f", at least {low:,}"
    return ""
