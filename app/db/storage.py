"""Storage of each user: bytes of all that is kept of theirs. Every statement names the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database

_SUMS: Final = {
    "messages": (
        "SELECT sum(length(CAST(m.text AS BLOB)) + coalesce(length(CAST(m.thought AS BLOB)), 0)"
        " + coalesce(length(CAST(m.sources AS BLOB)), 0)) FROM messages m"
        " JOIN chats c ON c.id = m.chat_id WHERE c.user_id = ?"
    ),
    "files": (
        "SELECT sum(length(CAST(text AS BLOB))) FROM attachments"
        " WHERE user_id = ? AND kind NOT IN ('image', 'audio')"
    ),
    "passages": (
        "SELECT sum(length(CAST(text AS BLOB)) + length(CAST(grams AS BLOB))) FROM passages"
        " WHERE user_id = ?"
    ),
    "vectors": "SELECT sum(length(vector)) FROM passage_vectors WHERE user_id = ?",
    "responses": (
        "SELECT sum(length(CAST(input AS BLOB)) + length(CAST(response AS BLOB))) FROM responses"
        " WHERE user_id = ?"
    ),
    "pictures": (
        "SELECT sum(size) FROM (SELECT max(size) AS size FROM attachments"
        " WHERE user_id = ? AND kind IN ('image', 'audio') GROUP BY digest)"
    ),
}


async def stored_bytes(db: Database, user_id: int) -> dict[str, int]:
    """Map what is kept in rows and pictures to its bytes: messages, files, pictures, and responses
    that programs go on from."""
    found = {}
    for name, sql in _SUMS.items():
        row = await db.fetch_one(sql, (user_id,))
        found[name] = int(row[0] or 0) if row is not None else 0
    found["files"] += found.pop("passages") + found.pop("vectors")
    return found


_CHATS: Final = "SELECT count(*) FROM chats WHERE user_id = ?"


async def count_chats(db: Database, user_id: int) -> int:
    """Count a user's chats, those in the trash included."""
    row = await db.fetch_one(_CHATS, (user_id,))
    return int(row[0]) if row is not None else 0


async def count_within(
    connection: aiosqlite.Connection, user_id: int, chat_id: str
) -> tuple[int, int]:
    """Count a user's chats, and the messages of one of them, within a transaction."""
    async with connection.execute(
        f"SELECT ({_CHATS}), (SELECT count(*) FROM messages m JOIN chats c ON c.id = m.chat_id"  # noqa: S608
        " WHERE m.chat_id = ? AND c.user_id = ?)",
        (user_id, chat_id, user_id),
    ) as cursor:
        row = await cursor.fetchone()
    return (0, 0) if row is None else (row[0], row[1])
