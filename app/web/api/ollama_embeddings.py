"""`/api/embed` and `/api/embeddings`, as programs made for Ollama know them."""

from __future__ import annotations

import time

import msgspec
from quart import Blueprint, Response

from app.errors import ApiError
from app.web.api import bodies, wishes
from app.web.api.embedding import embed
from app.web.api.embeddings import Text, Texts

blueprint = Blueprint("api_ollama_embeddings", __name__, url_prefix="/api")


class EmbedRequest(msgspec.Struct, kw_only=True):
    model: str
    input: Text | Texts
    truncate: bool | None = None


class OllamaEmbedded(msgspec.Struct):
    """Vectors of length 1; durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OldEmbedRequest(msgspec.Struct, kw_only=True):
    model: str
    prompt: Text


class OldEmbedded(msgspec.Struct):
    embedding: list[float]


@blueprint.post("/embed")
async def several() -> Response:
    asked, begun = await bodies.read(EmbedRequest), time.monotonic()
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    _check(texts)
    may_cut = asked.truncate is not False
    made = await embed(wishes.model_name(asked.model), texts, may_cut=may_cut)
    vectors = [vector.tolist() for vector in made.vectors]
    took = round((time.monotonic() - begun) * 1e9)
    return bodies.answer(OllamaEmbedded(asked.model, vectors, took, 0, made.tokens))


@blueprint.post("/embeddings")
async def one() -> Response:
    asked = await bodies.read(OldEmbedRequest)
    _check([asked.prompt])
    made = await embed(wishes.model_name(asked.model), [asked.prompt], may_cut=True)
    return bodies.answer(OldEmbedded(made.vectors[0].tolist()))


def _check(texts: list[str]) -> None:
    if "" in texts:
        raise ApiError("An empty text has no meaning to embed.", param="input")
