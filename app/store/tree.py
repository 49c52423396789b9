"""The whole tree of a chat's messages, and the paths through it; every statement names its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.store.messages import OWNED, Message, message_of

if TYPE_CHECKING:
    from app.store.db import Database


async def every_message(db: Database, user_id: int, chat_id: str) -> list[Message]:
    """All branches; parents come before their children."""
    rows = await db.fetch_all(
        f"SELECT * FROM messages WHERE chat_id = :chat AND {OWNED} ORDER BY id",  # noqa: S608
        {"chat": chat_id, "user": user_id},  # type: ignore[arg-type]
    )
    return [message_of(row) for row in rows]


_LAST = f"""
WITH RECURSIVE below (id) AS (
    SELECT id FROM messages WHERE id = :message AND chat_id = :chat AND {OWNED}
    UNION ALL
    SELECT (SELECT max(m.id) FROM messages m WHERE m.parent_id = below.id) FROM below
    WHERE below.id IS NOT NULL
)
SELECT max(id) AS id FROM below
"""  # noqa: S608


async def last_below(db: Database, user_id: int, chat_id: str, message_id: int) -> int | None:
    """Where the path ends that goes through this message and then always to the newest.

    None when the chat has no such message.
    """
    values = {"message": message_id, "chat": chat_id, "user": user_id}
    row = await db.fetch_one(_LAST, values)  # type: ignore[arg-type]
    return None if row is None else row["id"]
