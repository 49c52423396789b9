"""Tools with which a model searches what its user has: other chats, and documents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from app.conversations.document_search import DocumentSearch, FoundPassage
from app.conversations.search import ChatSearch, split_highlights
from app.db.search import Hit, SearchQuery, words_of
from app.errors import WickError
from app.models.text.tools import ToolSpec
from app.tools.builtin import SOURCE, schema, text_argument
from app.tools.tool import Tool, ToolContext, ToolResult

MAX_HITS: Final = 12
SEARCH_CHATS: Final = Tool(
    ToolSpec(
        "search_chats",
        "Searches the user's earlier chats; gives titles, dates and excerpts.",
        schema("words", words="Words that must all occur."),
    ),
    "Search my chats",
    SOURCE,
)
MAX_PASSAGES: Final = 8
SEARCH_DOCUMENTS: Final = Tool(
    ToolSpec(
        "search_documents",
        "Searches the documents of this chat and of its folder; gives passages with their pages.",
        schema("query", query="What to look for, in a few words."),
    ),
    "Search documents",
    SOURCE,
)


class SearchTools:
    """Tool source of what a user has in Wick. documents: returns the search of a chat."""

    def __init__(self, search: ChatSearch, documents: Callable[[str], DocumentSearch]) -> None:
        self._search = search
        self._documents = documents

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        return [SEARCH_CHATS, SEARCH_DOCUMENTS]

    async def call(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        is_chats = name == SEARCH_CHATS.spec.name
        text = text_argument(arguments, "words" if is_chats else "query")
        if not words_of(text):
            return ToolResult("Give some words to search for.", is_error=True)
        try:
            find = self._find_chats if is_chats else self._find_passages
            return ToolResult(await find(context, text) or "Nothing was found.")
        except WickError as error:
            return ToolResult(str(error), is_error=True)

    async def _find_passages(self, context: ToolContext, query: str) -> str:
        search = self._documents(context.chat_id)
        found = await search.find(context.user_id, context.chat_id, query, MAX_PASSAGES)
        return "\n\n".join(map(_passage, found))

    async def _find_chats(self, context: ToolContext, text: str) -> str:
        found = await self._search.find(context.user_id, SearchQuery(words_of(text)))
        hits = [*found.titles, *found.messages, *found.files]
        others = [hit for hit in hits if hit.chat_id != context.chat_id][:MAX_HITS]
        return "\n\n".join(map(_described, others))


def _passage(found: FoundPassage) -> str:
    where = f", {found.unit} {found.page}" if found.page else ""
    return f"{found.file}{where}:\n{found.text}"


def _described(hit: Hit) -> str:
    day = f"{dt.datetime.fromtimestamp(hit.at).astimezone():%Y-%m-%d}"
    whose = {"user": "the user wrote", "assistant": "the answer"}.get(hit.role, "its title")
    return f"“{hit.title}” ({day}), {whose}: {split_highlights(hit.snippet)[0]}"
