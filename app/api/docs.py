"""API documentation: the OpenAPI document, and its page."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import msgspec
from quart import Blueprint, Response

import app
from app.api import http
from app.api.anthropic.schemas import AnthropicErrorResponse
from app.api.endpoints import ENDPOINTS, FIELD_DESCRIPTIONS, FILE, SSE, TAGS, Endpoint
from app.api.ollama.generate import OllamaErrorResponse
from app.api.openai.schemas import ErrorResponse
from app.web.addresses import is_anthropic_path, is_ollama_path, public_path, public_url
from app.web.render.frame import render_page

# OpenAPI document, made from the shapes that requests are checked against.


blueprint = Blueprint("api_openapi", __name__)
_REF = "#/components/schemas/{name}"
_PARAMETERS: dict[str, dict[str, Any]] = {
    "chat_id": {"type": "string", "pattern": "^t?[0-9a-f]{16}$"},
    "message_id": {"type": "integer", "minimum": 0, "maximum": 2**53},
    "persona_id": {"type": "integer", "minimum": 0, "maximum": 2**53},
    "prompt_id": {"type": "integer", "minimum": 0, "maximum": 2**53},
    "folder_id": {"type": "integer", "minimum": 0, "maximum": 2**53},
    "response_id": {"type": "string", "pattern": "^resp_[0-9a-f]{32}$"},
    "file_id": {"type": "integer", "minimum": 0, "maximum": 2**53},
    "number": {"type": "integer", "minimum": 0, "maximum": 1000},
    "name": {"type": "string", "minLength": 1},
}
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "one event",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["data"],
}
_ERRORS = (ErrorResponse, OllamaErrorResponse, AnthropicErrorResponse)
_STREAMED: dict[str, dict[str, Any]] = {FILE: {"type": "object"}, SSE: _EVENT}


@blueprint.get("/openapi.json")
async def document() -> Response:
    return http.json_response(openapi() | {"servers": [{"url": public_path("") or "/"}]})


@functools.cache
def openapi() -> dict[str, Any]:
    """Build the whole document, which is the same for everybody."""
    shapes = [e.request for e in ENDPOINTS] + [e.response for e in ENDPOINTS]
    shapes = [shape for shape in [*shapes, *_ERRORS] if shape is not None]
    _, schemas = msgspec.json.schema_components(shapes, ref_template=_REF)
    for schema in schemas.values():
        _register_errors(schema)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wick",
            "version": app.__version__,
            "description": "API of Wick, a private chat with local language models.",
        },
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, created on the page /keys or by `wick key add`."
                    " On the server's own machine none is needed as long as Wick has no accounts.",
                }
            },
        },
        "security": [{"key": []}, {}],
    }


def _register_errors(schema: dict[str, Any]) -> None:
    """Describe the schema's fields, and put those first that are required."""
    fields, needed = schema.get("properties", {}), schema.get("required", ())
    for name in fields.keys() & FIELD_DESCRIPTIONS.keys():
        fields[name]["description"] = FIELD_DESCRIPTIONS[name]
    if fields:
        schema["properties"] = dict(
            sorted(fields.items(), key=lambda field: field[0] not in needed)
        )


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", endpoint.path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PARAMETERS[name]}
        for name in names
    ]
    for name, allowed, about in endpoint.query:
        schema = {"type": "string"} | ({"enum": list(allowed)} if allowed else {})
        parameters.append({"name": name, "in": "query", "description": about, "schema": schema})
    if endpoint.streams == SSE and endpoint.response is None:
        header = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}
        parameters.append(header | {"description": "id of the last event that was received"})
    made: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "responses": _responses(endpoint),
    }
    if endpoint.notes:
        made["description"] = endpoint.notes
    if parameters:
        made["parameters"] = parameters
    if endpoint.request is not None:
        content = {endpoint.takes or "application/json": {"schema": ref(endpoint.request)}}
        must_come = any(field.required for field in msgspec.structs.fields(endpoint.request))
        made["requestBody"] = {"required": must_come, "content": content}
    elif endpoint.takes:
        content = {endpoint.takes: {"schema": {"type": "string", "format": "binary"}}}
        made["requestBody"] = {"required": True, "content": content}
    return made


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[a-z0-9]+", endpoint.path.replace("_id}", ""))
    return "_".join([endpoint.method, *words])


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if endpoint.response is not None:
        content["application/json"] = {"schema": ref(endpoint.response)}
    if endpoint.streams:
        content[endpoint.streams] = {"schema": _STREAMED.get(endpoint.streams, {"type": "string"})}
    refused = _error_shape(endpoint.path)
    refusal = {
        "description": "Error, in a sentence.",
        "content": {"application/json": {"schema": ref(refused)}},
    }
    responses: dict[str, Any] = {"4XX": refusal, "5XX": refusal}
    if endpoint.status < 400:
        done = {"description": "Done."} | ({"content": content} if content else {})
        responses[str(endpoint.status)] = done
    if endpoint.streams == SSE and endpoint.response is None:
        responses["204"] = {"description": "Nothing follows."}
    return responses


def _error_shape(path: str) -> type[msgspec.Struct]:
    if is_anthropic_path(path):
        return AnthropicErrorResponse
    return OllamaErrorResponse if is_ollama_path(path) else ErrorResponse


def ref(shape: Any) -> dict[str, Any]:
    """The schema of a shape, or of a list of one."""
    if get_origin(shape) is list:
        return {"type": "array", "items": ref(get_args(shape)[0])}
    return {"$ref": _REF.format(name=shape.__name__)}


# `/docs/api`: the same document as a page.


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
    return await render_page(
        "docs_api.html",
        document=document,
        operations=_operations(document),
        shapes=document["components"]["schemas"],
        fields=fields_of,
        kind=kind_of,
        shape=shape_of,
        origin=public_url(""),
    )


def _operations(document: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Method, path and operation, by tag."""
    found: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    return found


def shape_of(content: dict[str, Any] | None) -> str:
    """The name of the shape that a body has, as JSON or as a form, if it has one."""
    schemas = [one.get("schema", {}) for one in (content or {}).values()]
    found = next((schema["$ref"] for schema in schemas if "$ref" in schema), "")
    return str(found).rpartition("/")[2]


def fields_of(schema: dict[str, Any]) -> list[DocField]:
    required = set(schema.get("required", ()))
    return [
        DocField(name, kind_of(given), given.get("description", ""), name in required)
        for name, given in schema.get("properties", {}).items()
    ]


def kind_of(schema: dict[str, Any]) -> str:
    """Describe the allowed values in words."""
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
