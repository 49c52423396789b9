"""The tables of documents and of their passages, and the search in them.

Every statement names the user whose documents they are.
"""

# ruff: noqa: S608 - only pieces of this module and numbers are joined; what people type is bound.

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database

STEP_PASSAGES: Final = 100
"""Passages that are written or deleted in one transaction."""
MAX_MATCHES: Final = 5000
"""Passages that are weighed for one word."""
_MANY: Final = 0.5
"""Of all passages: a word that so many have says nothing, where others do."""
_LEAST: Final = 0.15
"""Of the best passage's score: what has less has little to do with the question."""
_K1, _B, _HEADING_WEIGHT = 1.2, 0.6, 1.5


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage of a document. number: its place there, from 0."""

    id: int
    document_id: int
    number: int
    page: int
    heading: str
    text: str
    tokens: int


class NewPassage(NamedTuple):
    """A passage that is to be saved."""

    number: int
    page: int
    heading: str
    text: str
    grams: str
    tokens: int


class StoredDocument(NamedTuple):
    """passages: how many it has, None while it is being cut; tokens: about how many those are."""

    id: int
    passages: int | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Term:
    """A word that is searched for. match: as FTS5 has it; weight: how much it counts."""

    match: str
    weight: float = 1.0


class PassageVector(NamedTuple):
    """Vector of a user's passage, as bytes."""

    passage_id: int
    user_id: int
    vector: bytes


class UnembeddedPassage(NamedTuple):
    """A passage without a vector. text: with the headings it stands under."""

    passage_id: int
    user_id: int
    text: str


async def add_document(
    connection: aiosqlite.Connection, user_id: int, digest: str
) -> StoredDocument:
    """Add a document that has no passages yet, or return the one that is there."""
    await connection.execute(
        "INSERT OR IGNORE INTO documents (user_id, digest) VALUES (?, ?)", (user_id, digest)
    )
    rows = await connection.execute_fetchall(
        "SELECT id, passages, tokens FROM documents WHERE user_id = ? AND digest = ?",
        (user_id, digest),
    )
    return StoredDocument(*next(iter(rows)))


async def add_passages(
    connection: aiosqlite.Connection, user_id: int, document_id: int, some: Sequence[NewPassage]
) -> None:
    """Add passages; those that an earlier try has left are as they would be now."""
    await connection.executemany(
        "INSERT OR IGNORE INTO passages"
        " (user_id, document_id, number, page, heading, text, grams, tokens)"
        " SELECT user_id, id, ?, ?, ?, ?, ?, ? FROM documents WHERE id = ? AND user_id = ?",
        [(*passage, document_id, user_id) for passage in some],
    )


async def complete(
    connection: aiosqlite.Connection, user_id: int, document_id: int, count: int, tokens: int
) -> None:
    """Note that a document has all its passages."""
    await connection.execute(
        "UPDATE documents SET passages = ?, tokens = ? WHERE id = ? AND user_id = ?",
        (count, tokens, document_id, user_id),
    )


async def link(
    connection: aiosqlite.Connection, user_id: int, attachment_id: int, document_id: int
) -> None:
    """Note whose text a document is."""
    await connection.execute(
        "UPDATE attachments SET document_id = (SELECT id FROM documents WHERE id = ?1"
        " AND user_id = ?3) WHERE id = ?2 AND user_id = ?3",
        (document_id, attachment_id, user_id),
    )


async def documents_of(
    db: Database, user_id: int, attachment_ids: Iterable[int]
) -> dict[int, StoredDocument]:
    """Map those of these files that are cut to their documents."""
    rows = await db.fetch_all(
        "SELECT a.id AS file, d.id, d.passages, d.tokens FROM attachments a JOIN documents d"
        " ON d.id = a.document_id AND d.user_id = a.user_id WHERE a.user_id = ?"
        f" AND d.passages IS NOT NULL AND a.id IN ({_list(attachment_ids)})",
        (user_id,),
    )
    return {row["file"]: StoredDocument(row["id"], row["passages"], row["tokens"]) for row in rows}


Scope = Mapping[int, Sequence[int]]
"""Documents that are searched, by the users whose they are."""


def _in_scope(scope: Scope) -> str:
    """Condition of a passage `p`: it is of these documents."""
    parts = (
        f"(p.user_id = {int(user)} AND p.document_id IN ({_list(some)}))"
        for user, some in scope.items()
    )
    return f"({' OR '.join(parts) or '0'})"


async def of_scope(db: Database, scope: Scope, ids: Iterable[int]) -> list[StoredPassage]:
    """Find passages by their ids, in the order of their documents."""
    rows = await db.fetch_all(
        f"SELECT {_NAMES} FROM passages p WHERE {_in_scope(scope)} AND id IN ({_list(ids)})"
        " ORDER BY document_id, number"
    )
    return [StoredPassage(*row) for row in rows]


async def of_document(
    db: Database, user_id: int, document_id: int, numbers: Iterable[int] | None = None
) -> list[StoredPassage]:
    """The passages of a document, all or some, in its order."""
    only = "" if numbers is None else f" AND number IN ({_list(numbers)})"
    rows = await db.fetch_all(
        f"SELECT {_NAMES} FROM passages WHERE user_id = ? AND document_id = ?{only}"
        " ORDER BY number",
        (user_id, document_id),
    )
    return [StoredPassage(*row) for row in rows]


_NAMES: Final = ", ".join(StoredPassage.__slots__)


# The search: BM25 over the documents that are meant and no others. SQLite's own bm25 would weigh
# words by how rare they are in everybody's documents, from which people could read what others
# have.


class _Match(NamedTuple):
    """A passage that has a word: how often, and how long it is."""

    id: int
    hits: float
    length: int


async def rank(db: Database, scope: Scope, terms: Sequence[Term], limit: int) -> list[int]:
    """Return the ids of the passages that fit these words best, the best first."""
    within = _in_scope(scope)
    size = await db.fetch_one(
        "SELECT count(*) AS count, coalesce(avg(length(p.text)), 0) AS length FROM passages p"
        f" WHERE {within}"
    )
    if size is None or not size["count"]:
        return []
    scores: defaultdict[int, float] = defaultdict(float)
    for term, found in await _frequencies(db, within, terms, size["count"]):
        rarity = math.log(1 + (size["count"] - found + 0.5) / (found + 0.5))
        for match in await _matches(db, within, term):
            longer = 1 - _B + _B * match.length / size["length"]
            often = match.hits * (_K1 + 1) / (match.hits + _K1 * longer)
            scores[match.id] += term.weight * rarity * often
    best = sorted(scores, key=lambda one: (-scores[one], one))
    enough = scores[best[0]] * _LEAST if best else 0.0
    return [one for one in best[:limit] if scores[one] >= enough]


async def _frequencies(
    db: Database, within: str, terms: Sequence[Term], count: int
) -> list[tuple[Term, int]]:
    """Count the passages that have each of these words. Those that most have are left out."""
    counted = list[tuple[Term, int]]()
    for term in terms:
        rows = await db.search(
            "SELECT count(*) FROM passages_index CROSS JOIN passages p"
            f" ON p.id = passages_index.rowid WHERE passages_index MATCH :match AND {within}",
            {"match": term.match},
        )
        if rows[0][0]:
            counted.append((term, rows[0][0]))
    rare = [(term, found) for term, found in counted if found <= count * _MANY]
    return rare or counted


async def _matches(db: Database, within: str, term: Term) -> list[_Match]:
    def often(column: int, name: str) -> str:
        marked = f"length(highlight(passages_index, {column}, char(2), ''))"
        return f"({marked} - length(p.{name}))"

    rows = await db.search(
        f"SELECT p.id, {_HEADING_WEIGHT} * {often(0, 'heading')} + {often(1, 'text')}"
        f" + {often(2, 'grams')}, length(p.text) FROM passages_index CROSS JOIN passages p"
        f" ON p.id = passages_index.rowid WHERE passages_index MATCH :match AND {within}"
        f" LIMIT {MAX_MATCHES}",
        {"match": term.match},
    )
    return [_Match(*row) for row in rows]


# Passages as vectors.


async def without_vector(db: Database, model: str, limit: int) -> list[UnembeddedPassage]:
    """List passages that have no vector of this model, of all users, the newest first."""
    rows = await db.fetch_all(
        "SELECT p.id, p.user_id, p.heading, p.text FROM passages p WHERE NOT EXISTS (SELECT 1"
        " FROM passage_vectors v WHERE v.passage_id = p.id AND v.model = ?)"
        " ORDER BY p.id DESC LIMIT ?",
        (model, limit),
    )
    return [UnembeddedPassage(r["id"], r["user_id"], f"{r['heading']}\n{r['text']}") for r in rows]


async def add_vectors(
    connection: aiosqlite.Connection, model: str, some: Sequence[PassageVector]
) -> None:
    """Add vectors of passages that are still there, and their users'."""
    await connection.executemany(
        "INSERT OR REPLACE INTO passage_vectors (passage_id, user_id, model, vector)"
        " SELECT id, user_id, ?, ? FROM passages WHERE id = ? AND user_id = ?",
        [(model, one.vector, one.passage_id, one.user_id) for one in some],
    )


async def vectors_of(db: Database, scope: Scope, model: str, limit: int) -> list[tuple[int, bytes]]:
    """List the ids of passages of these documents with their vectors of a model."""
    rows = await db.fetch_all(
        "SELECT p.id, v.vector FROM passages p JOIN passage_vectors v ON v.passage_id = p.id"
        f" AND v.user_id = p.user_id AND v.model = ? WHERE {_in_scope(scope)} LIMIT ?",
        (model, limit),
    )
    return [(row["id"], row["vector"]) for row in rows]


# Documents that no file has any more.


async def has_freed(db: Database) -> bool:
    return await db.fetch_one("SELECT 1 FROM freed_documents LIMIT 1") is not None


async def remove_some_freed(connection: aiosqlite.Connection) -> None:
    """Delete some passages of documents that no attachment has, then the documents."""
    rows = await connection.execute_fetchall("SELECT id FROM freed_documents LIMIT 1")
    for row in rows:
        used = await connection.execute_fetchall(
            "SELECT 1 FROM attachments WHERE document_id = ? LIMIT 1", (row["id"],)
        )
        if used or not await _remove_some(connection, "document_id", row["id"]):
            if not used:
                await connection.execute("DELETE FROM documents WHERE id = ?", (row["id"],))
            await connection.execute("DELETE FROM freed_documents WHERE id = ?", (row["id"],))


async def remove_some(connection: aiosqlite.Connection, user_id: int) -> bool:
    """Delete some passages of a user who goes. Return whether there were any."""
    return await _remove_some(connection, "user_id", user_id)


async def _remove_some(connection: aiosqlite.Connection, column: str, value: int) -> bool:
    cursor = await connection.execute(
        f"DELETE FROM passages WHERE id IN (SELECT id FROM passages WHERE {column} = ? LIMIT ?)",
        (value, STEP_PASSAGES),
    )
    return cursor.rowcount > 0


def terms_of(words: Mapping[str, float]) -> list[Term]:
    """Words as FTS5 has them, quoted, so that no sign means anything. One that ends in a star is
    the beginning of words."""
    return [
        Term('"' + word.rstrip("*").replace('"', '""') + ('"*' if word.endswith("*") else '"'), w)
        for word, w in words.items()
    ]


def _list(ids: Iterable[int]) -> str:
    return ", ".join(f"{int(one)}" for one in ids)
