"""The tool with which a model searches its user's other chats."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

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


class SearchTools:
    """Tool source: what a user has in Wick."""

    def __init__(self, search: ChatSearch) -> None:
        self._search = search

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        return [SEARCH_CHATS]

    async def call(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        words = words_of(text_argument(arguments, "words"))
        if not words:
            return ToolResult("Give some words to search for.", is_error=True)
        try:
            found = await self._search.find(context.user_id, SearchQuery(words))
        except WickError as error:
            return ToolResult(str(error), is_error=True)
        hits = [*found.titles, *found.messages, *found.files]
        others = [hit for hit in hits if hit.chat_id != context.chat_id][:MAX_HITS]
        return ToolResult("\n\n".join(map(_described, others)) or "Nothing was found.")


def _described(hit: Hit) -> str:
    day = f"{dt.datetime.fromtimestamp(hit.at).astimezone():%Y-%m-%d}"
    whose = {"user": "the user wrote", "assistant": "the answer"}.get(hit.role, "its title")
    return f"“{hit.title}” ({day}), {whose}: {split_highlights(hit.snippet)[0]}"
