"""`/api/tags`, `/api/show`, `/api/ps` and `/api/version`, as programs made for Ollama know them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from quart import Blueprint, Response

import app
from app.api import http
from app.api.generation import LATEST, model_name
from app.api.ollama.generate import rfc3339
from app.errors import ApiError
from app.models.memory import required_bytes
from app.models.model import Model
from app.models.parameters import SAMPLING, Sampling
from app.web.context import server_context

blueprint = Blueprint("api_ollama_models", __name__, url_prefix="/api")
OLLAMA_VERSION: Final = "0.9.0"
"""The version of Ollama whose API this is: programs look at it to learn what they may ask."""
NEVER = 100 * 365 * 86400.0


class ShowRequest(msgspec.Struct):
    model: str | None = None
    name: str | None = None


@blueprint.get("/version")
async def version() -> Response:
    return http.json_response({"version": OLLAMA_VERSION, "wick": app.__version__})


@blueprint.get("/tags")
async def tags() -> Response:
    models = await asyncio.to_thread(server_context().store.models)
    return http.json_response({"models": [_tag(model) for model in models]})


@blueprint.post("/show")
async def show() -> Response:
    asked = await http.parse_body(ShowRequest)
    name = model_name(asked.model or asked.name or "")
    if not name:
        raise ApiError("The name of the model is missing.", param="model")
    model = await asyncio.to_thread(server_context().store.get, name)
    content = {
        "modelfile": f"FROM {model.name}\n",
        "parameters": "\n".join(_parameters(model.default_sampling)),
        "template": model.chat_template,
        "system": model.settings.system_prompt,
        "license": model.license or "",
        "details": _details(model),
        "model_info": {
            "general.architecture": model.architecture,
            "general.name": model.title,
            "general.parameter_count": model.parameters,
            f"{model.architecture}.context_length": model.context_length,
        },
        "capabilities": ["completion"],
        "modified_at": rfc3339(_modified(model)),
    }
    return http.json_response(content)


@blueprint.get("/ps")
async def ps() -> Response:
    context = server_context()
    models = {model.name: model for model in await asyncio.to_thread(context.store.models)}
    running = []
    for status in context.pool.statuses():
        model = models.get(status.name)
        if model is None or status.state != "ready":
            continue
        left = NEVER if status.unloads_in is None else status.unloads_in
        size = status.memory or required_bytes(model, status.context_length, status.slots)
        running.append(
            _tag(model)
            | {
                "size": size,
                "size_vram": 0,
                "expires_at": rfc3339(time.time() + left),
                "context_length": status.context_length,
            }
        )
    return http.json_response({"models": running})


def _parameters(sampling: Sampling) -> Iterator[str]:
    """A line for each parameter that has a value and can be chosen."""
    for name, row in SAMPLING.items():
        value, wire = getattr(sampling, name), row.wire("ollama")
        if row.is_setting and wire is not None and value is not None:
            yield f"{wire.name} {row.to_text(value)}"


def _tag(model: Model) -> dict[str, Any]:
    name = model.name + LATEST
    return {
        "name": name,
        "model": name,
        "modified_at": rfc3339(_modified(model)),
        "size": model.size,
        "digest": model.digest,
        "details": _details(model),
    }


def _details(model: Model) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf" if model.remote is None else "remote",
        "family": model.architecture,
        "families": [model.architecture],
        "parameter_size": _count(model.parameters),
        "quantization_level": model.quantisation,
        "engine": model.engine,
    }


def _count(parameters: int) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= size:
            return f"{parameters / size:.1f}{letter}"
    return str(parameters or "")


def _modified(model: Model) -> float:
    try:
        return model.metadata_path.stat().st_mtime
    except OSError:  # it is just being removed
        return 0.0
