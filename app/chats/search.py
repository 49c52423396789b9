"""What a person finds among their chats."""

from __future__ import annotations

from dataclasses import dataclass

from app.store import search
from app.store.db import Database
from app.store.search import END, START, Hit, Wish

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

    async def find(self, user_id: int, wish: Wish) -> Results:
        """The best hits. Without words there are none."""
        if not wish.words:
            return Results([], [])
        titles = [] if wish.role else await search.titles(self._db, user_id, wish, MOST_TITLES)
        found = await search.messages(self._db, user_id, wish, MOST_MESSAGES + 1)
        return Results(titles, found[:MOST_MESSAGES], len(found) > MOST_MESSAGES)

    async def models(self, user_id: int) -> list[str]:
        """Whose answers can be searched."""
        return await search.models(self._db, user_id)


def marked(snippet: str) -> tuple[str, list[tuple[int, int]]]:
    """A snippet without START and END, and the hits by their first character and their end."""
    text, marks = "", []
    for index, part in enumerate(snippet.split(START)):
        hit, _, rest = part.partition(END) if index else ("", "", part)
        if hit:
            marks.append((len(text), len(text) + len(hit)))
        text += hit + rest
    return text, marks
