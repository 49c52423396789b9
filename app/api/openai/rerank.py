"""`/v1/rerank`: which of several documents answer a query, as Jina's and Cohere's protocols do."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.api import generation, http
from app.api.openai.embeddings import EmbeddingUsage, TextInput
from app.api.prompt_input import MAX_PROMPTS

blueprint = Blueprint("api_rerank", __name__)


class DocumentText(msgspec.Struct):
    text: str


Documents = Annotated[list[str | DocumentText], Meta(min_length=1, max_length=MAX_PROMPTS)]


class RerankRequest(msgspec.Struct, kw_only=True):
    """truncate: of a document that is too long the beginning counts; else it is refused."""

    model: str
    query: TextInput
    documents: Documents
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool = False
    truncate: bool = False


class RerankHit(msgspec.Struct, omit_defaults=True):
    """index: of the document in the request; relevance_score: from 0 to 1."""

    index: int = msgspec.field()
    relevance_score: float = msgspec.field()
    document: DocumentText | None = None


class RerankResults(msgspec.Struct):
    """results: the most relevant first."""

    model: str
    results: list[RerankHit]
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


@blueprint.post("/v1/rerank")
async def create() -> Response:
    asked = await http.parse_body(RerankRequest)
    texts = [one if isinstance(one, str) else one.text for one in asked.documents]
    name = generation.model_name(asked.model)
    made = await generation.rerank(name, asked.query, texts, may_cut=asked.truncate)
    hits = [
        RerankHit(index, score, DocumentText(texts[index]) if asked.return_documents else None)
        for index, score in enumerate(made.scores)
    ]
    hits.sort(key=lambda hit: -hit.relevance_score)
    usage = EmbeddingUsage(made.tokens, made.tokens)
    return http.json_response(RerankResults(name, hits[: asked.top_n], usage))
