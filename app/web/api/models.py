"""`/v1/models`: which models there are."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from quart import Blueprint, Response

from app.chats.answer_settings import effective
from app.errors import ModelNotFound
from app.models.model import Model
from app.web.api import bodies
from app.web.api.wishes import model_name
from app.web.state import State, state

blueprint = Blueprint("api_models", __name__, url_prefix="/v1/models")


class ModelObject(msgspec.Struct):
    """context_length: tokens that a prompt and its answer may have together; created: when it was
    put on the shelf, in seconds since 1970."""

    id: str
    created: int
    context_length: int
    title: str
    state: Literal["idle", "loading", "ready", "unloading", "failed"]
    object: Literal["model"] = "model"
    owned_by: str = "wick"


class ModelList(msgspec.Struct):
    data: list[ModelObject]
    object: Literal["list"] = "list"


@blueprint.get("")
async def every() -> Response:
    here = state()
    models = await asyncio.to_thread(here.shelf.models)
    return bodies.answer(ModelList([_object(here, model) for model in models]))


@blueprint.get("/<path:name>")
async def one(name: str) -> Response:
    here = state()
    models = await asyncio.to_thread(here.shelf.models)
    for model in models:
        if model.name == model_name(name):
            return bodies.answer(_object(here, model))
    raise ModelNotFound(f"There is no model named “{name}”.")


def _object(here: State, model: Model) -> ModelObject:
    status = here.pool.status(model.name)
    settings = effective(here.settings, model)
    try:
        created = int(model.facts.stat().st_mtime)
    except OSError:  # it is just being removed
        created = 0
    return ModelObject(
        id=model.name,
        created=created,
        context_length=settings.context_length or model.context_length,
        title=model.title,
        state=status.state if status else "idle",
    )
