"""`/api/embed` and `/api/embeddings`, as programs made for Ollama know them."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.api import generation, http
from app.api.generation import embed
from app.api.ollama.models import KeepAlive, seconds_of, set_keep_alive
from app.api.openai.embeddings import TextInput
from app.api.prompt_input import MAX_PROMPTS

blueprint = Blueprint("api_ollama_embeddings", __name__, url_prefix="/api")
Texts = Annotated[list[TextInput], Meta(max_length=MAX_PROMPTS)]


class EmbedRequest(msgspec.Struct, kw_only=True):
    model: str
    input: str | Texts
    truncate: bool | None = None
    dimensions: Annotated[int, Meta(ge=0)] | None = None
    keep_alive: KeepAlive | None = None


class OllamaEmbedResponse(msgspec.Struct):
    """Vectors of length 1; durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class LegacyEmbedRequest(msgspec.Struct, kw_only=True):
    model: str
    prompt: str = ""
    keep_alive: KeepAlive | None = None


class LegacyEmbedResponse(msgspec.Struct):
    embedding: list[float]


@blueprint.post("/embed")
async def create() -> Response:
    asked, begun = await http.parse_body(EmbedRequest), time.monotonic()
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if texts == [""]:
        texts = []
    name, may_cut = generation.model_name(asked.model), asked.truncate is not False
    seconds = seconds_of(asked.keep_alive)
    made = await embed(name, texts, may_cut=may_cut, dimensions=asked.dimensions or None)
    set_keep_alive(name, seconds)
    vectors = [vector.tolist() for vector in made.vectors]
    took = round((time.monotonic() - begun) * 1e9)
    return http.json_response(OllamaEmbedResponse(asked.model, vectors, took, 0, made.tokens))


@blueprint.post("/embeddings")
async def embed_legacy() -> Response:
    asked = await http.parse_body(LegacyEmbedRequest)
    texts = [asked.prompt] if asked.prompt else []
    name, seconds = generation.model_name(asked.model), seconds_of(asked.keep_alive)
    made = await embed(name, texts, may_cut=True)
    set_keep_alive(name, seconds)
    return http.json_response(LegacyEmbedResponse(made.vectors[0].tolist() if made.vectors else []))
