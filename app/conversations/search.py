"""Search among a user's chats."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from app.background import BackgroundTasks
from app.conversations.titles import strip_markup
from app.db import search
from app.db.connection import Database
from app.db.search import END, START, Hit, SearchQuery

MAX_TITLES, MAX_FILES, MAX_MESSAGES = 8, 20, 40


@dataclass(frozen=True, slots=True)
class SearchResults:
    """Chats by title, then messages, then files; `is_more`: there are more than these."""

    titles: list[Hit]
    messages: list[Hit]
    is_more: bool = False
    files: list[Hit] = field(default_factory=list)


class ChatSearch:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._tasks = BackgroundTasks()
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, user_id: int, query: SearchQuery) -> SearchResults:
        """The best hits. Without words there are none. Raises SearchTooLong.

        Everybody searches once at a time, so that nobody waits for all that another wants to find.
        """
        if not query.words:
            return SearchResults([], [])
        turn = self._turns[user_id]
        await turn.acquire()
        return await self._tasks.run_shielded(self._find(user_id, query, turn), "search")

    async def _find(self, user_id: int, query: SearchQuery, turn: asyncio.Lock) -> SearchResults:
        """The turn lasts until the database has done with it, whoever has gone meanwhile."""
        try:
            titles = [] if query.role else await search.titles(self._db, user_id, query, MAX_TITLES)
            found = await search.messages(self._db, user_id, query, MAX_MESSAGES + 1)
            files = await self._files(user_id, query)
        finally:
            turn.release()
        is_more = len(found) > MAX_MESSAGES or len(files) > MAX_FILES
        return SearchResults(titles, found[:MAX_MESSAGES], is_more, files[:MAX_FILES])

    async def _files(self, user_id: int, query: SearchQuery) -> list[Hit]:
        """Find files, which models have none of."""
        if query.role == "assistant" or query.model:
            return []
        return await search.files(self._db, user_id, query, MAX_FILES + 1)

    async def models(self, user_id: int) -> list[str]:
        """List the models whose answers can be searched."""
        return await search.models(self._db, user_id)


def split_highlights(snippet: str) -> tuple[str, list[tuple[int, int]]]:
    """A snippet as plain text, and the hits by their first character and their end.

    A sign that stands alone came from the text itself.
    """
    text, marks = "", []
    for index, part in enumerate(strip_markup(snippet).split(START)):
        hit, end, rest = part.partition(END)
        if index and end and hit:
            marks.append((len(text), len(text) + len(hit)))
        text += hit + rest.replace(END, "")
    return text, marks
