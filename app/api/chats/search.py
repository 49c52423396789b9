"""`/api/v1/search` and `/api/v1/models`: what is found in chats, and who can answer in them."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from quart import Blueprint, Response, request

from app.api import http
from app.api.chats.schemas import ChatId
from app.conversations.search import split_highlights
from app.db.search import SearchQuery, words_of
from app.models.model import Model, ModelKind
from app.web.context import ServerContext, server_context
from app.web.render import cards
from app.web.render.cards import describe_progress, describe_readiness
from app.web.render.models import default_model
from app.web.security.identity import current_user

blueprint = Blueprint("api_finding", __name__, url_prefix="/api/v1")


class ModelChoice(msgspec.Struct):
    """A model; note: what choosing it means, in a word or two. kind: only `text` can chat; others
    are for /v1/embeddings and /v1/rerank.

    default: new chats begin with it; ready: it is installed, else on its way; sent_to: the
    other machines that are sent what is written to it; engine: what runs it, `remote` for another
    server, null while it is on its way.
    """

    name: str
    title: str
    note: str
    default: bool
    ready: bool
    sent_to: list[str]
    engine: Literal["ctransformers", "llama.cpp", "remote"] | None = None
    kind: ModelKind = "text"
    object: Literal["model"] = "model"


class ModelChoices(msgspec.Struct):
    """error: why there is none, where a download of one failed."""

    data: list[ModelChoice]
    error: str | None = None
    object: Literal["list"] = "list"


class SearchHitObject(msgspec.Struct):
    """message_id, role: null where the title has the words. marks: the hits in the snippet, each
    from its first character to the one after it; at: seconds since 1970."""

    chat_id: ChatId
    title: str
    message_id: int | None
    role: Literal["user", "assistant"] | None
    snippet: str
    marks: list[list[int]]
    at: float
    object: Literal["hit"] = "hit"


class SearchResultList(msgspec.Struct):
    """more: there are others than these, the best."""

    data: list[SearchHitObject]
    more: bool
    object: Literal["list"] = "list"


@blueprint.get("/models")
async def models() -> Response:
    """List installed models and running pulls, the model of new chats first."""
    context = server_context()
    first = await default_model(context)
    store = await asyncio.to_thread(context.store.models)
    names = {model.name for model in store}
    found = [_choice(context, model, first) for model in store]
    found += [
        ModelChoice(
            p.name, p.title, describe_progress(p.progress), p.name == first, ready=False, sent_to=[]
        )
        for p in context.pulls.all()
        if p.is_running and p.name not in names
    ]
    found.sort(key=lambda choice: (choice.kind != "text", not choice.default))
    failures = [] if found else [pull.error for pull in context.pulls.all() if pull.error]
    return http.json_response(ModelChoices(found, failures[0] if failures else None))


@blueprint.get("/search")
async def search() -> Response:
    """`?q=`: words that titles or messages have, all of them."""
    found = await server_context().search.find(
        current_user(), SearchQuery(words_of(request.args.get("q", "")))
    )
    hits = []
    for hit in [*found.titles, *found.messages]:
        snippet, marks = split_highlights(hit.snippet)
        hits.append(
            SearchHitObject(
                chat_id=hit.chat_id,
                title=hit.title,
                message_id=hit.message_id,
                role=_role(hit.role),
                snippet=snippet,
                marks=[list(mark) for mark in marks],
                at=hit.at,
            )
        )
    return http.json_response(SearchResultList(hits, found.is_more))


def _role(text: str) -> Literal["user", "assistant"] | None:
    """None for the title of a chat."""
    match text:
        case "user" | "assistant":
            return text
        case _:
            return None


def _choice(context: ServerContext, model: Model, first: str) -> ModelChoice:
    note, sent_to = describe_readiness(context.pool.status(model.name)), list[str]()
    if model.remote is not None:
        note = cards.describe_remote_readiness(
            model.remote, context.pool.remotes.status(model.name)
        )
        sent_to = list(model.remote.external_hosts)
    is_first = model.name == first
    return ModelChoice(
        model.name,
        model.title,
        note,
        is_first,
        ready=True,
        sent_to=sent_to,
        engine=model.engine,
        kind=model.kind,
    )
