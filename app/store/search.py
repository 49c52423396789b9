"""Finding chats and messages by words.

Words are looked up in the index. Text that is written without spaces (Chinese, Japanese, Thai and
others) is one long word to it, and signs are none at all; what has either is sought in the texts
themselves. That reads every text of the person once, some 100 ms for 50 MB. A second index of
three-letter pieces would cost thrice the space of the texts and could not find words of two signs,
which most Chinese ones are.
"""

# ruff: noqa: S608 - only pieces of this module are joined; what people type is bound.

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.store.db import Database

START, END = "\x02", "\x03"
"""Stand around a hit in a snippet."""
LONGEST_QUERY, MOST_WORDS = 200, 12
WEIGHED = 1000
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
Where = Literal["", "pinned", "archived", "trash"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is sought. `since`: seconds since 1970; empty strings: no limit of that kind."""

    words: tuple[str, ...]
    role: Literal["", "user", "assistant"] = ""
    model: str = ""
    where: Where = ""
    since: float = 0.0

    @property
    def is_indexed(self) -> bool:
        return all(_is_word(word) for word in self.words)

    @property
    def match(self) -> str:
        """All words, the last also as a beginning. Quoted, so that no sign means anything."""
        return " ".join('"' + word.replace('"', '""') + '"' for word in self.words) + "*"


def words_of(text: str) -> tuple[str, ...]:
    """The words to look for; signs that stand alone only where there is nothing else."""
    words = text[:LONGEST_QUERY].replace("\0", " ").split()[:MOST_WORDS]
    return tuple([w for w in words if any(c.isalnum() for c in w)] or words)


def _is_word(word: str) -> bool:
    return any(c.isalnum() for c in word) and not _SPACELESS.search(word)


@dataclass(frozen=True, slots=True)
class Hit:
    """A chat whose title, or a message whose text, has the words.

    snippet: the part of it with the hits between START and END; message_id: None for a title.
    """

    chat_id: str
    title: str
    message_id: int | None
    role: str
    model: str
    at: float
    snippet: str


async def titles(db: Database, user_id: int, wish: Wish, limit: int) -> list[Hit]:
    """Chats by their titles, the best first."""
    values = _values(user_id, wish, limit)
    if wish.is_indexed:
        sql = (
            "SELECT c.id AS chat_id, c.title, NULL AS message_id, '' AS role, c.model,"
            " c.updated_at AS at, highlight(titles_index, 0, :start, :end) AS snippet"
            " FROM titles_index JOIN chats c ON c.number = titles_index.rowid"
            f" WHERE titles_index MATCH :match AND {_chat_filter(wish)}"
            " AND c.updated_at >= :since AND (:model = '' OR c.model = :model)"
            f" ORDER BY {_worth('titles_index', 'c.title', 'c.updated_at')} DESC LIMIT :limit"
        )
    else:
        sql = (
            "SELECT c.id AS chat_id, c.title, NULL AS message_id, '' AS role, c.model,"
            " c.updated_at AS at, c.title AS snippet FROM chats c"
            f" WHERE {_contains('c.title', wish, values)} AND {_chat_filter(wish)}"
            " AND c.updated_at >= :since AND (:model = '' OR c.model = :model)"
            " ORDER BY c.updated_at DESC LIMIT :limit"
        )
    return [_hit(row, wish) for row in await db.search(sql, values)]


async def messages(db: Database, user_id: int, wish: Wish, limit: int) -> list[Hit]:
    """Messages by their texts, the best first: few words far back weigh less than fresh ones."""
    values = _values(user_id, wish, limit)
    condition = (
        f"{_chat_filter(wish)} AND m.created_at >= :since AND (:role = '' OR m.role = :role)"
        " AND (:model = '' OR m.model = :model)"
    )
    chosen = (
        "SELECT c.id AS chat_id, c.title, m.id AS message_id, m.role, coalesce(m.model, '')"
        " AS model, m.created_at AS at"
    )
    if wish.is_indexed:
        # Of a word that is everywhere only the newest are weighed; and snippets are cut only for
        # what is shown. Hence the queries within.
        sql = (
            "WITH fresh AS (SELECT messages_index.rowid AS found,"
            f" {_worth('messages_index', 'm.text', 'm.created_at')} AS score"
            " FROM messages_index JOIN messages m ON m.id = messages_index.rowid"
            " JOIN chats c ON c.id = m.chat_id"
            f" WHERE messages_index MATCH :match AND {condition}"
            f" ORDER BY messages_index.rowid DESC LIMIT {WEIGHED}),"
            " best AS MATERIALIZED (SELECT * FROM fresh ORDER BY score DESC LIMIT :limit) "
            f"{chosen}, snippet(messages_index, 0, :start, :end, '…', 24) AS snippet"
            " FROM best CROSS JOIN messages_index ON messages_index.rowid = best.found"
            " JOIN messages m ON m.id = best.found JOIN chats c ON c.id = m.chat_id"
            " WHERE messages_index MATCH :match ORDER BY best.score DESC, best.found DESC"
        )
    else:
        sql = (
            f"{chosen}, m.text AS snippet FROM chats c JOIN messages m ON m.chat_id = c.id"
            f" WHERE {_contains('m.text', wish, values)} AND {condition}"
            " ORDER BY m.created_at DESC LIMIT :limit"
        )
    return [_hit(row, wish) for row in await db.search(sql, values)]


async def models(db: Database, user_id: int) -> list[str]:
    """The models that have answered this person, by name."""
    rows = await db.fetch_all(
        "SELECT DISTINCT m.model FROM messages m JOIN chats c ON c.id = m.chat_id"
        " WHERE c.user_id = ? AND m.model IS NOT NULL ORDER BY m.model",
        (user_id,),
    )
    return [row["model"] for row in rows]


def _worth(index: str, text: str, time: str) -> str:
    """How good a hit is, by its own text and age alone.

    SQLite's bm25 would weigh words by how rare they are in everybody's texts: from the order of
    their own messages people could read what others have written. This is its other half, for
    texts of 600 characters on average. What is new counts double, a month old 1.5 times.
    """
    hits = f"(length(highlight({index}, 0, :start, '')) - length({text}))"
    return (
        f"{hits} / ({hits} + 0.3 + 0.9 * length({text}) / 600.0)"
        f" * (1 + 1 / (1 + max(0, unixepoch() - {time}) / 2592000.0))"
    )


_PLACES: dict[Where, str] = {
    "": "c.deleted_at IS NULL",
    "pinned": "c.deleted_at IS NULL AND c.pinned_at IS NOT NULL",
    "archived": "c.deleted_at IS NULL AND c.archived_at IS NOT NULL",
    "trash": "c.deleted_at IS NOT NULL",
}


def _chat_filter(wish: Wish) -> str:
    return f"c.user_id = :user AND {_PLACES[wish.where]}"


def _values(user_id: int, wish: Wish, limit: int) -> dict[str, object]:
    return {
        "user": user_id,
        "match": wish.match,
        "role": wish.role,
        "model": wish.model,
        "since": wish.since,
        "limit": limit,
        "start": START,
        "end": END,
    }


def _contains(column: str, wish: Wish, values: dict[str, object]) -> str:
    """Every word somewhere in the text, in letters of either case (of the Latin alphabet)."""
    for number, word in enumerate(wish.words):
        literal = re.sub(r"([\\%_])", r"\\\1", word)
        values[f"word{number}"] = f"%{literal}%"
    return " AND ".join(
        f"{column} LIKE :word{number} ESCAPE '\\'" for number in range(len(wish.words))
    )


def _hit(row: sqlite3.Row, wish: Wish) -> Hit:
    hit = Hit(**{name: row[name] for name in row.keys()})  # noqa: SIM118 - a Row iterates its values
    if wish.is_indexed:
        return hit
    return Hit(
        hit.chat_id,
        hit.title,
        hit.message_id,
        hit.role,
        hit.model,
        hit.at,
        _cut(hit.snippet, wish.words),
    )


def _cut(text: str, words: tuple[str, ...]) -> str:
    """The text around the first hit, with the words marked."""
    pattern = re.compile("|".join(re.escape(word) for word in words), re.IGNORECASE)
    first = pattern.search(text)
    start = max(0, (first.start() if first else 0) - 60)
    piece = pattern.sub(lambda found: f"{START}{found[0]}{END}", text[start : start + 200])
    return ("…" if start else "") + piece + ("…" if len(text) > start + 200 else "")
