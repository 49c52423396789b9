"""What a person finds among their chats."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from app.chats.snippets import unmarked
from app.store import search
from app.store.db import Database
from app.store.search import END, START, Hit, Wish
from app.tasks import Tasks

MOST_TITLES, MOST_MESSAGES = 8, 40


@dataclass(frozen=True, slots=True)
class Results:
    """Chats by title, then messages; `is_more`: there are more messages than these."""

    titles: list[Hit]
    messages: list[Hit]
    is_more: bool = False


class Search:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._tasks = Tasks()
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, user_id: int, wish: Wish) -> Results:
        """The best hits. Without words there are none. Raises SearchTooLong.

        Everybody searches once at a time, so that nobody waits for all that another wants to find.
        """
        if not wish.words:
            return Results([], [])
        turn = self._turns[user_id]
        await turn.acquire()
        return await self._tasks.run(self._find(user_id, wish, turn), "search")

    async def _find(self, user_id: int, wish: Wish, turn: asyncio.Lock) -> Results:
        """The turn lasts until the database has done with it, whoever has gone meanwhile."""
        try:
            titles = [] if wish.role else await search.titles(self._db, user_id, wish, MOST_TITLES)
            found = await search.messages(self._db, user_id, wish, MOST_MESSAGES + 1)
        finally:
            turn.release()
        return Results(titles, found[:MOST_MESSAGES], len(found) > MOST_MESSAGES)

    async def models(self, user_id: int) -> list[str]:
        """Whose answers can be searched."""
        return await search.models(self._db, user_id)


def marked(snippet: str) -> tuple[str, list[tuple[int, int]]]:
    """A snippet as plain text, and the hits by their first character and their end."""
    text, marks = "", []
    for index, part in enumerate(unmarked(snippet).split(START)):
        hit, _, rest = part.partition(END) if index else ("", "", part)
        if hit:
            marks.append((len(text), len(text) + len(hit)))
        text += hit + rest
    return text, marks
