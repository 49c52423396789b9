"""Pages that list chats: the archive, the trash, and what a search finds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from app.conversations.chats import RETENTION_SECONDS, TRASH_DAYS
from app.conversations.search import split_highlights
from app.db.chats import Chat, Cursor, ListName
from app.db.search import Hit, SearchQuery, Where, words_of
from app.web.context import server_context
from app.web.render.dates import day_of
from app.web.render.frame import render_page
from app.web.render.model_names import ModelNames
from app.web.security.identity import current_user


async def _chat_list(name: ListName, page: str, lines: str, **values: Any) -> Response:
    """The template `page`, or with `?after=` and for its own script only more of its `lines`."""
    context = server_context()
    after = Cursor.parse(request.args.get("after", ""))
    chats, more = await context.chats.page(current_user(), name, after)
    html = context.fragments.render(lines, chats=chats, more=more or "", **values)
    if not request.headers.get("HX-Request"):
        return await render_page(page, lines=html, is_empty=not chats, **values)
    return Response(html, content_type="text/html; charset=utf-8")


archive_blueprint = Blueprint("archive", __name__, url_prefix="/archive")


@archive_blueprint.get("")
async def archive_page() -> Response:
    return await _chat_list("archived", "archive.html", "_archived.html", day_of=day_of)


trash_blueprint = Blueprint("trash", __name__, url_prefix="/trash")


def deletion_date(chat: Chat) -> str:
    """Return the day on which it is removed for good."""
    return day_of((chat.deleted_at or 0) + RETENTION_SECONDS)


@trash_blueprint.get("")
async def trash_page() -> Response:
    return await _chat_list(
        "trashed", "trash.html", "_trashed.html", deletion_date=deletion_date, trash_days=TRASH_DAYS
    )


@trash_blueprint.delete("/<chat_id>")
async def remove(chat_id: str) -> str:
    """Delete one chat for good."""
    context = server_context()
    await context.trash.remove(current_user(), chat_id)
    notice = context.fragments.notice("Chat deleted permanently.", is_done=True)
    return notice + context.fragments.removed(f"#away-{chat_id}")


@trash_blueprint.delete("")
async def empty() -> str:
    """Delete all chats in the trash for good."""
    context = server_context()
    count = await context.trash.empty(current_user())
    what = "1 chat" if count == 1 else f"{count:,} chats"
    notice = context.fragments.notice(f"{what} deleted permanently.", is_done=True)
    return notice + context.fragments.inside("#away", "")


# The search page; its results come again while one types.

search_blueprint = Blueprint("search", __name__, url_prefix="/search")
DAY_SECONDS = 86400.0
_TIMES = {"": "Any time", "7": "Last 7 days", "30": "Last 30 days", "365": "Last 12 months"}
_ROLES = {"": "Anyone", "user": "You", "assistant": "Models"}
_PLACES = {
    "": "Everywhere except trash",
    "pinned": "Pinned",
    "archived": "Archive",
    "trash": "Trash",
}


@dataclass(frozen=True, slots=True)
class SearchHitView:
    """One line of results. `address` leads to the message itself; texts come in parts, each with
    whether it is a hit; file: the name of the one with the words."""

    address: str
    title: list[tuple[str, bool]]
    who: str
    day: str
    snippet: list[tuple[str, bool]]
    file: str = ""


@search_blueprint.get("")
async def search_page() -> Response:
    """The page, or for its own script only the results in it."""
    context, user_id = server_context(), current_user()
    query = _parse_query()
    results = await context.search.find(user_id, query)
    names = context.model_names
    await names.load(hit.model for hit in results.messages)
    values: dict[str, Any] = {
        "query": request.args.get("q", ""),
        "titles": [hit_view(hit, query.words, names) for hit in results.titles],
        "messages": [hit_view(hit, query.words, names) for hit in results.messages],
        "files": [hit_view(hit, query.words, names) for hit in results.files],
        "is_more": results.is_more,
    }
    if request.headers.get("HX-Request"):
        html = context.fragments.render("_results.html", **values)
        return Response(html, content_type="text/html; charset=utf-8")
    chosen = {name: request.args.get(name, "") for name in ("role", "model", "in", "since")}
    known = await context.search.models(user_id)
    await names.load(known)
    models = {"": "Any model"} | {name: names.title(name) for name in known}
    filters = [
        ("role", "Written by", _ROLES),
        ("model", "Model", models),
        ("in", "Where", _PLACES),
        ("since", "When", _TIMES),
    ]
    return await render_page("search.html", filters=filters, chosen=chosen, **values)


def _parse_query() -> SearchQuery:
    """Return what the address asks for; a value that is none of those offered asks for nothing."""
    given = request.args
    role, where, days = given.get("role", ""), given.get("in", ""), given.get("since", "")
    return SearchQuery(
        words=words_of(given.get("q", "")),
        role=role if role in {"user", "assistant"} else "",  # type: ignore[arg-type]
        model=given.get("model", ""),
        where=cast("Where", where if where in _PLACES else ""),
        since=time.time() - int(days) * DAY_SECONDS if days and days in _TIMES else 0.0,
    )


def hit_view(hit: Hit, words: Sequence[str], names: ModelNames) -> SearchHitView:
    """Build a line of results; the page it leads to shows where the words are."""
    if hit.message_id is None:
        address, title, snippet = f"/chats/{hit.chat_id}", highlights(hit.snippet), []
    else:
        sought = urlencode(
            {"message": hit.message_id, "find": " ".join(words)}
            | ({"file": hit.file_id} if hit.file_id else {})
        )
        address = f"/chats/{hit.chat_id}?{sought}#m{hit.message_id}"
        title, snippet = [(hit.title, False)], highlights(hit.snippet)
    who = (
        "" if hit.message_id is None else ("You" if hit.role == "user" else names.title(hit.model))
    )
    return SearchHitView(address, title, who, day_of(hit.at), snippet, hit.file)


def highlights(snippet: str) -> list[tuple[str, bool]]:
    """A snippet in parts, each with whether it is a hit, without the signs of Markdown."""
    text, marks = split_highlights(snippet)
    parts, shown = [], 0
    for start, end in marks:
        parts += [(text[shown:start], False), (text[start:end], True)]
        shown = end
    return [part for part in [*parts, (text[shown:], False)] if part[0]]
