"""`/v1/embeddings`: texts as vectors."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.api import generation, http
from app.api.generation import embed
from app.api.prompt_input import SeveralFilled, prompts
from app.errors import ApiError

blueprint = Blueprint("api_embeddings", __name__)
TextInput = Annotated[str, Meta(extra_json_schema={"minLength": 1})]
Dimensions = Annotated[int, Meta(ge=1)]


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    model: str
    input: TextInput | SeveralFilled
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Dimensions | None = None


class EmbeddingObject(msgspec.Struct):
    """embedding: of length 1; as base64 its numbers are 32-bit floats, the lowest byte first."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


@blueprint.post("/v1/embeddings")
async def create() -> Response:
    asked = await http.parse_body(EmbeddingRequest)
    texts = prompts(asked.input, "input")
    if not texts:
        raise ApiError("input must not be an empty list.", param="input")
    name = generation.model_name(asked.model)
    made = await embed(name, texts, dimensions=asked.dimensions)
    as_text = asked.encoding_format == "base64"
    data = [
        EmbeddingObject(
            index,
            base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if as_text
            else vector.tolist(),
        )
        for index, vector in enumerate(made.vectors)
    ]
    return http.json_response(EmbeddingList(data, name, EmbeddingUsage(made.tokens, made.tokens)))
