"""`/v1/models`: which models there are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Literal

import msgspec
from quart import Blueprint, Response

from app.api import http
from app.api.generation import model_name
from app.conversations.settings import resolve
from app.errors import ModelNotFound
from app.inference.model_state import ModelState
from app.models.model import Model, ModelKind
from app.web.context import ServerContext, server_context

blueprint = Blueprint("api_models", __name__, url_prefix="/v1/models")


class ModelObject(msgspec.Struct):
    """context_length: tokens that a prompt and its answer may have together; created: when it was
    installed, in seconds since 1970; engine: what runs it, `remote` for another server; kind: what
    it makes, `text` in chats, or numbers for search; sees: whether it takes pictures; hears: sound.
    The fields from `type` on are those of Anthropic's protocol, which asks at the same address."""

    id: str
    created: int
    context_length: int
    title: str
    state: ModelState
    engine: Literal["ctransformers", "llama.cpp", "remote"]
    kind: ModelKind = "text"
    sees: bool = False
    hears: bool = False
    object: Literal["model"] = "model"
    owned_by: str = "wick"
    type: Literal["model"] = "model"
    display_name: str = ""
    created_at: str = ""
    max_input_tokens: int = 0
    lifecycle: Literal["active"] = "active"


class ModelList(msgspec.Struct):
    data: list[ModelObject]
    object: Literal["list"] = "list"
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


@blueprint.get("")
async def list_models() -> Response:
    context = server_context()
    models = await asyncio.to_thread(context.store.models)
    listed = [_object(context, model) for model in models]
    first, last = (listed[0].id, listed[-1].id) if listed else (None, None)
    return http.json_response(ModelList(listed, first_id=first, last_id=last))


@blueprint.get("/<path:name>")
async def get_model(name: str) -> Response:
    context = server_context()
    models = await asyncio.to_thread(context.store.models)
    for model in models:
        if model.name == model_name(name):
            return http.json_response(_object(context, model))
    raise ModelNotFound(f"There is no model named “{name}”.")


def _object(context: ServerContext, model: Model) -> ModelObject:
    status = context.pool.status(model.name)
    settings = resolve(context.settings, model)
    try:
        created = int(model.metadata_path.stat().st_mtime)
    except OSError:  # it is just being removed
        created = 0
    length = settings.context_length or model.context_length
    return ModelObject(
        id=model.name,
        created=created,
        context_length=length,
        title=model.title,
        state=status.state if status else ModelState.IDLE,
        engine=model.engine,
        kind=model.kind,
        sees=model.sees,
        hears=model.hears,
        display_name=model.title,
        created_at=datetime.fromtimestamp(created, UTC).isoformat(),
        max_input_tokens=length,
    )
