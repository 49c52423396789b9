"""The search page; its results come again while one types."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from app.conversations.search import split_highlights
from app.db.search import Hit, SearchQuery, Where, words_of
from app.web.context import server_context
from app.web.render.sidebar import day_of
from app.web.security.identity import current_user

blueprint = Blueprint("search", __name__, url_prefix="/search")
DAY = 86400.0
TIMES = {"": "Any time", "7": "Last 7 days", "30": "Last 30 days", "365": "Last 12 months"}
ROLES = {"": "Anyone", "user": "You", "assistant": "Models"}
PLACES = {
    "": "Everywhere except trash",
    "pinned": "Pinned",
    "archived": "Archive",
    "trash": "Trash",
}


@dataclass(frozen=True, slots=True)
class SearchHitView:
    """One line of results. `address` leads to the message itself; texts come in parts, each with
    whether it is a hit."""

    address: str
    title: list[tuple[str, bool]]
    who: str
    day: str
    snippet: list[tuple[str, bool]]


@blueprint.get("")
async def page() -> Response:
    """The page, or for its own script only the results in it."""
    context, user_id = server_context(), current_user()
    query = _parse_query()
    results = await context.search.find(user_id, query)
    values = {
        "query": request.args.get("q", ""),
        "titles": [_hit_view(hit, query.words) for hit in results.titles],
        "messages": [_hit_view(hit, query.words) for hit in results.messages],
        "is_more": results.is_more,
    }
    if request.headers.get("HX-Request"):
        html = context.fragments.render("_results.html", **values)
    else:
        chosen = {name: request.args.get(name, "") for name in ("role", "model", "in", "since")}
        models = {"": "Any model"} | {name: name for name in await context.search.models(user_id)}
        filters = [
            ("role", "Written by", ROLES),
            ("model", "Model", models),
            ("in", "Where", PLACES),
            ("since", "When", TIMES),
        ]
        html = context.fragments.render("search.html", filters=filters, chosen=chosen, **values)
    return Response(html, content_type="text/html; charset=utf-8")


def _parse_query() -> SearchQuery:
    """Return what the address asks for; a value that is none of those offered asks for nothing."""
    given = request.args
    role, where, days = given.get("role", ""), given.get("in", ""), given.get("since", "")
    return SearchQuery(
        words=words_of(given.get("q", "")),
        role=role if role in {"user", "assistant"} else "",  # type: ignore[arg-type]
        model=given.get("model", ""),
        where=cast("Where", where if where in PLACES else ""),
        since=time.time() - int(days) * DAY if days and days in TIMES else 0.0,
    )


def _hit_view(hit: Hit, words: Sequence[str]) -> SearchHitView:
    """The page it leads to shows where the words are."""
    if hit.message_id is None:
        address, title, snippet = f"/chats/{hit.chat_id}", highlights(hit.snippet), []
    else:
        sought = urlencode({"message": hit.message_id, "find": " ".join(words)})
        address = f"/chats/{hit.chat_id}?{sought}#m{hit.message_id}"
        title, snippet = [(hit.title, False)], highlights(hit.snippet)
    who = "" if hit.message_id is None else ("You" if hit.role == "user" else hit.model)
    return SearchHitView(address, title, who, day_of(hit.at), snippet)


def highlights(snippet: str) -> list[tuple[str, bool]]:
    """A snippet in parts, each with whether it is a hit, without the signs of Markdown."""
    text, marks = split_highlights(snippet)
    parts, shown = [], 0
    for start, end in marks:
        parts += [(text[shown:start], False), (text[start:end], True)]
        shown = end
    return [part for part in [*parts, (text[shown:], False)] if part[0]]
