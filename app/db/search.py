"""Finding chats, messages and the files of messages by words.

Words are looked up in the index. Signs are nothing to it, so of a word that has some (`C++`,
`.NET`) it finds where the letters are, and the texts there are looked at. Text that is written
without spaces (Chinese, Japanese, Thai and others) is one long word to it; a query that has such,
or nothing but signs, is sought in the texts themselves. That reads every text of the user once. A
second index of three-letter pieces would cost thrice the space and could not find words of two
signs, which most Chinese ones are.
"""

# ruff: noqa: S608 - only pieces of this module are joined; what people type is bound.

from __future__ import annotations

import re
import sqlite3
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from app.db.messages import VISIBLE

if TYPE_CHECKING:
    from app.db.connection import Database

START, END = "\x02", "\x03"
"""Stand around a hit in a snippet."""
LONGEST_QUERY, MOST_WORDS = 200, 12
MAX_RANKED = 1000
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_AROUND = "\"'*()[]{}<>,;:!?-\u2018\u2019\u201c\u201d\u2026\u00ab\u00bb"
_LOOSE = "'\u2019-\u2010\u2011"
_FILE_TEXT = "a.name || ' ' || a.alt || ' ' || a.text"
Where = Literal["", "pinned", "archived", "trash"]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search. `since`: seconds since 1970; empty strings: no limit of that kind."""

    words: tuple[str, ...]
    role: Literal["", "user", "assistant"] = ""
    model: str = ""
    where: Where = ""
    since: float = 0.0

    @property
    def is_indexed(self) -> bool:
        return all(_is_word(word) for word in self.words)

    @property
    def literal(self) -> tuple[str, ...]:
        """The words that the index alone does not find as they were typed."""
        if not self.is_indexed:
            return self.words
        return tuple(word for word in self.words if any(_is_sign(c) for c in word))

    @property
    def match(self) -> str:
        """Match all words, the last also as a prefix. Quoted, so that no sign means anything."""
        is_begun = bool(self.words) and not _is_sign(self.words[-1][-1])
        quoted = ('"' + word.replace('"', '""') + '"' for word in self.words)
        return " ".join(quoted) + ("*" if is_begun else "")


def words_of(text: str) -> tuple[str, ...]:
    """The words to look for; signs that stand alone only where there is nothing else."""
    words = text[:LONGEST_QUERY].replace("\0", " ").split()[:MOST_WORDS]
    return tuple([_bare(w) for w in words if any(c.isalnum() for c in w)] or words)


def _bare(word: str) -> str:
    """Strip the signs around words; those of `C++`, `#1` and `.NET` belong to them."""
    return word.lstrip(_AROUND).rstrip(_AROUND + ".")


def _is_sign(character: str) -> bool:
    """Return whether it must stand in the text; apostrophes and hyphens vary too much."""
    return unicodedata.category(character)[0] in "PS" and character not in _LOOSE


def folded(text: str | None) -> str:
    """Text as it is compared: capitals of every alphabet are small. SQLite calls this."""
    return unicodedata.normalize("NFC", text or "").casefold()


def _is_word(word: str) -> bool:
    return any(c.isalnum() for c in word) and not _SPACELESS.search(word)


@dataclass(frozen=True, slots=True)
class Hit:
    """A chat whose title, or a message whose text or whose file, has the words.

    snippet: the part of it with the hits between START and END; message_id: None for a title;
    file, file_id: which file of the message has them.
    """

    chat_id: str
    title: str
    message_id: int | None
    role: str
    model: str
    at: float
    snippet: str
    file: str = ""
    file_id: int | None = None


async def titles(db: Database, user_id: int, query: SearchQuery, limit: int) -> list[Hit]:
    """Chats by their titles, the best first."""
    values = _values(user_id, query, limit)
    if query.is_indexed:
        sql = (
            "SELECT c.id AS chat_id, c.title, NULL AS message_id, '' AS role, c.model,"
            " c.updated_at AS at, highlight(titles_index, 0, :start, :end) AS snippet"
            " FROM titles_index JOIN chats c ON c.number = titles_index.rowid"
            f" WHERE titles_index MATCH :match AND {_chat_filter(query)}"
            f"{_contains('c.title', query, values)}"
            " AND c.updated_at >= :since AND (:model = '' OR c.model = :model)"
            f" ORDER BY {_rank('titles_index', 'c.title', 'c.updated_at')} DESC LIMIT :limit"
        )
    else:
        sql = (
            "SELECT c.id AS chat_id, c.title, NULL AS message_id, '' AS role, c.model,"
            " c.updated_at AS at, c.title AS snippet FROM chats c"
            f" WHERE {_chat_filter(query)}{_contains('c.title', query, values)}"
            " AND c.updated_at >= :since AND (:model = '' OR c.model = :model)"
            " ORDER BY c.updated_at DESC LIMIT :limit"
        )
    return [_hit(row, query) for row in await db.search(sql, values)]


async def messages(db: Database, user_id: int, query: SearchQuery, limit: int) -> list[Hit]:
    """Messages by their texts, the best first: few words far back weigh less than fresh ones."""
    values = _values(user_id, query, limit)
    condition = (
        f"{_chat_filter(query)} AND {VISIBLE} AND m.created_at >= :since"
        " AND (:role = '' OR m.role = :role) AND (:model = '' OR m.model = :model)"
    )
    chosen = (
        "SELECT c.id AS chat_id, c.title, m.id AS message_id, m.role, coalesce(m.model, '')"
        " AS model, m.created_at AS at"
    )
    if query.is_indexed:
        # Of a word that is everywhere only the newest are weighed; and snippets are cut only for
        # what is shown. Hence the queries within.
        cut = "snippet(messages_index, 0, :start, :end, '…', 24)"
        snippet = "m.text" if query.literal else cut
        sql = (
            "WITH fresh AS (SELECT messages_index.rowid AS found,"
            f" {_rank('messages_index', 'm.text', 'm.created_at')} AS score"
            " FROM messages_index JOIN messages m ON m.id = messages_index.rowid"
            " JOIN chats c ON c.id = m.chat_id"
            f" WHERE messages_index MATCH :match AND {condition}"
            f"{_contains('m.text', query, values)}"
            f" ORDER BY messages_index.rowid DESC LIMIT {MAX_RANKED}),"
            " best AS MATERIALIZED (SELECT * FROM fresh ORDER BY score DESC LIMIT :limit) "
            f"{chosen}, {snippet} AS snippet"
            " FROM best CROSS JOIN messages_index ON messages_index.rowid = best.found"
            " JOIN messages m ON m.id = best.found JOIN chats c ON c.id = m.chat_id"
            " WHERE messages_index MATCH :match ORDER BY best.score DESC, best.found DESC"
        )
    else:
        sql = (
            f"{chosen}, m.text AS snippet FROM chats c JOIN messages m ON m.chat_id = c.id"
            f" WHERE {condition}{_contains('m.text', query, values)}"
            " ORDER BY m.created_at DESC LIMIT :limit"
        )
    return [_hit(row, query) for row in await db.search(sql, values)]


async def files(db: Database, user_id: int, query: SearchQuery, limit: int) -> list[Hit]:
    """Files of messages by their names and texts, the newest first."""
    values = _values(user_id, query, limit)
    condition = (
        f"{_chat_filter(query)} AND {VISIBLE} AND a.user_id = :user AND m.created_at >= :since"
        f"{_contains(_FILE_TEXT, query, values)}"
    )
    chosen = (
        "SELECT c.id AS chat_id, c.title, m.id AS message_id, m.role, '' AS model,"
        " m.created_at AS at, a.name AS file, a.id AS file_id"
    )
    joined = "JOIN messages m ON m.id = a.message_id JOIN chats c ON c.id = m.chat_id"
    if query.is_indexed:
        cut = "snippet(attachments_index, 2, :start, :end, '…', 24)"
        sql = (
            f"{chosen}, {_FILE_TEXT if query.literal else cut} AS snippet"
            " FROM attachments_index JOIN attachments a ON a.id = attachments_index.rowid"
            f" {joined} WHERE attachments_index MATCH :match AND {condition}"
            " ORDER BY attachments_index.rowid DESC LIMIT :limit"
        )
    else:
        sql = (
            f"{chosen}, {_FILE_TEXT} AS snippet FROM chats c JOIN messages m ON m.chat_id = c.id"
            f" JOIN attachments a ON a.message_id = m.id WHERE {condition}"
            " ORDER BY a.id DESC LIMIT :limit"
        )
    return [_hit(row, query) for row in await db.search(sql, values)]


async def models(db: Database, user_id: int) -> list[str]:
    """The models that have answered this user, by name."""
    rows = await db.fetch_all(
        "SELECT DISTINCT m.model FROM messages m JOIN chats c ON c.id = m.chat_id"
        f" WHERE c.user_id = ? AND m.model IS NOT NULL AND {VISIBLE} ORDER BY m.model",
        (user_id,),
    )
    return [row["model"] for row in rows]


def _rank(index: str, text: str, time: str) -> str:
    """Return how good a hit is, by its own text and age alone.

    SQLite's bm25 would weigh words by how rare they are in everybody's texts: from the order of
    their own messages people could read what others have written. This is its other half, for
    texts of 600 characters on average. What is new counts double, a month old 1.5 times.
    """
    hits = f"(length(highlight({index}, 0, :start, '')) - length({text}))"
    return (
        f"{hits} / ({hits} + 0.3 + 0.9 * length({text}) / 600.0)"
        f" * (1 + 1 / (1 + max(0, unixepoch() - {time}) / 2592000.0))"
    )


_FOLDER_FILTERS: dict[Where, str] = {
    "": "c.deleted_at IS NULL",
    "pinned": "c.deleted_at IS NULL AND c.pinned_at IS NOT NULL",
    "archived": "c.deleted_at IS NULL AND c.archived_at IS NOT NULL",
    "trash": "c.deleted_at IS NOT NULL",
}


def _chat_filter(query: SearchQuery) -> str:
    return f"c.user_id = :user AND {_FOLDER_FILTERS[query.where]}"


def _values(user_id: int, query: SearchQuery, limit: int) -> dict[str, object]:
    return {
        "user": user_id,
        "match": query.match,
        "role": query.role,
        "model": query.model,
        "since": query.since,
        "limit": limit,
        "start": START,
        "end": END,
    }


def _contains(column: str, query: SearchQuery, values: dict[str, object]) -> str:
    """Further conditions: these words stand in the text as they were typed, in any case."""
    values |= {f"word{number}": folded(word) for number, word in enumerate(query.literal)}
    return "".join(
        f" AND instr(folded({column}), :word{number}) > 0" for number in range(len(query.literal))
    )


def _hit(row: sqlite3.Row, query: SearchQuery) -> Hit:
    hit = Hit(**{name: row[name] for name in row.keys()})  # noqa: SIM118 - a Row iterates its values
    if not query.literal or hit.snippet.find(START) >= 0:
        return hit
    return replace(hit, snippet=_excerpt(hit.snippet, query.words))


def _excerpt(text: str, words: tuple[str, ...]) -> str:
    """The text around the first hit, with the words marked."""
    pattern = re.compile("|".join(re.escape(word) for word in words), re.IGNORECASE)
    first = pattern.search(text)
    start = max(0, (first.start() if first else 0) - 60)
    piece = pattern.sub(lambda found: f"{START}{found[0]}{END}", text[start : start + 200])
    return ("…" if start else "") + piece + ("…" if len(text) > start + 200 else "")
