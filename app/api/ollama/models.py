"""`/api/tags`, `/api/show`, `/api/ps` and `/api/version`; loading and keep-alive of models."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from quart import Blueprint, Response

import app
from app.api import http
from app.api.generation import LATEST, model_name
from app.errors import ApiError, ModelBusy
from app.models.memory import required_bytes
from app.models.model import Model, ModelKind
from app.models.parameters import SAMPLING, Sampling
from app.models.text.builtin_templates import default_template_of
from app.web.context import server_context
from app.web.security.identity import identity

blueprint = Blueprint("api_ollama_models", __name__, url_prefix="/api")
OLLAMA_VERSION: Final = "0.9.0"
"""The version of Ollama whose API this is: programs decide by it what they may use."""
CAPABILITIES: Final[dict[ModelKind, str]] = {
    "text": "completion",
    "embedding": "embedding",
    "reranker": "rerank",
}
NEVER = 100 * 365 * 86400.0
KeepAlive = float | str
MAX_SECONDS: Final = 365 * 86400.0
"""Seconds; what is longer is for ever."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)"


class OllamaVersion(msgspec.Struct):
    """version: that of Ollama whose API this is; wick: Wick's own."""

    version: str
    wick: str


class OllamaDetails(msgspec.Struct):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(msgspec.Struct):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails


class OllamaTags(msgspec.Struct):
    models: list[OllamaModel]


class OllamaRunning(OllamaModel):
    size_vram: int
    expires_at: str
    context_length: int


class OllamaProcesses(msgspec.Struct):
    models: list[OllamaRunning]


class OllamaShow(msgspec.Struct):
    modelfile: str
    parameters: str
    template: str
    system: str
    license: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


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
    body = await http.parse_body(ShowRequest)
    name = model_name(body.model or body.name or "")
    if not name:
        raise ApiError("The name of the model is missing.", param="model")
    model = await asyncio.to_thread(server_context().store.get, name)
    content = {
        "modelfile": f"FROM {model.name}\n",
        "parameters": "\n".join(_parameters(model.default_sampling)),
        "template": default_template_of(model),
        "system": model.settings.system_prompt,
        "license": model.license or "",
        "details": _details(model),
        "model_info": {
            "general.architecture": model.architecture,
            "general.name": model.title,
            "general.parameter_count": model.parameters,
            f"{model.architecture}.context_length": model.context_length,
        },
        "capabilities": [CAPABILITIES[model.kind], *(["vision"] if model.sees else [])],
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


def rfc3339(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e6):06d}Z"


# Keep-alive, loading and unloading.


def set_keep_alive(name: str, seconds: float | None) -> None:
    """Set how long the model stays loaded; only owners may, since others need memory, or it."""
    if seconds is not None and identity().is_owner:
        server_context().pool.set_keep_alive(name, seconds)


async def load_or_unload(name: str, keep_alive: KeepAlive | None) -> str:
    """Load a model, or unload it if keep_alive is 0; return which, when it is done.

    Raises ApiError, or why the model cannot be loaded.
    """
    context = server_context()
    context.answers.resolve_settings(name, chats=False)
    seconds = seconds_of(keep_alive)
    if seconds == 0:
        if identity().is_owner:
            await _unload(name)
        return "unload"
    await _load(name)
    set_keep_alive(name, seconds)
    return "load"


def seconds_of(keep_alive: KeepAlive | None) -> float | None:
    """Parse seconds, or a duration such as `1h30m`; negative is infinite. Raises ApiError."""
    if keep_alive is None:
        return None
    text = str(keep_alive).strip().removeprefix("+")
    try:
        seconds = float(text)
    except ValueError:
        amount = text.removeprefix("-")
        if not re.fullmatch(f"(?:{_PART})+", amount):
            raise ApiError(
                f"keep_alive takes a time such as 5m, or seconds, and no “{text}”.",
                param="keep_alive",
            ) from None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, amount))
        seconds = -seconds if amount != text else seconds
    return seconds if 0 <= seconds <= MAX_SECONDS else math.inf


async def _unload(name: str) -> None:
    """Unload at once, or when what runs and waits has ended."""
    try:
        await server_context().pool.unload(name)
    except ModelBusy:
        server_context().pool.set_keep_alive(name, 0)


async def _load(name: str) -> None:
    """Load a model, unless it is loaded. Raises ApiError when that fails."""
    pool, states = server_context().pool, asyncio.Queue[str]()

    def on_change() -> None:
        if (status := pool.status(name)) is not None:
            states.put_nowait(status.state)

    pool.listeners.append(on_change)
    try:
        pool.load(name)
        on_change()
        was_loading = False
        while (now := await states.get()) != "ready":
            if was_loading and now != "loading":
                status = pool.status(name)
                why = status.error if status is not None else None
                raise ApiError(why or "The load was given up.", status=503)
            was_loading = now == "loading"
    finally:
        pool.listeners.remove(on_change)
