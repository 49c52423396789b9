"""The whole tree of a chat's messages, and the paths through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.store.messages import Message, message_of

if TYPE_CHECKING:
    import aiosqlite

    from app.store.db import Database


async def every_message(db: Database, chat_id: str) -> list[Message]:
    """All branches; parents come before their children."""
    rows = await db.fetch_all("SELECT * FROM messages WHERE chat_id = ? ORDER BY id", (chat_id,))
    return [message_of(row) for row in rows]


_LAST = """
WITH RECURSIVE below (id) AS (
    SELECT id FROM messages WHERE id = :message AND chat_id = :chat
    UNION ALL
    SELECT (SELECT max(m.id) FROM messages m WHERE m.parent_id = below.id) FROM below
    WHERE below.id IS NOT NULL
)
SELECT max(id) AS id FROM below
"""


async def last_below(db: Database, chat_id: str, message_id: int) -> int | None:
    """Where the path ends that goes through this message and then always to the newest.

    None when the chat has no such message.
    """
    values = {"message": message_id, "chat": chat_id}
    row = await db.fetch_one(_LAST, values)  # type: ignore[arg-type]
    return None if row is None else row["id"]


async def show_path(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, leaf_id: int
) -> None:
    """From now on the chat shows the path that ends with this message of it."""
    await connection.execute(
        "UPDATE chats SET leaf_id = ? WHERE id = ? AND user_id = ?", (leaf_id, chat_id, user_id)
    )
