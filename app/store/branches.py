"""The messages of a chat as a tree: what stands beside what, and where each path ends.

Every statement names the user whose chat it is, so nobody reaches another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiosqlite

from app.store.messages import OWNED, VISIBLE, Message, message_of

if TYPE_CHECKING:
    from app.store.db import Database

_BELOW = f"""
WITH RECURSIVE below (id) AS (
    SELECT id FROM messages WHERE id = :top AND {OWNED}
    UNION ALL
    SELECT m.id FROM messages m JOIN below ON m.parent_id = below.id WHERE {VISIBLE}
)
"""  # noqa: S608
"""A message of the person's and all that follows it."""
_ONE = f"SELECT * FROM messages WHERE id = :id AND chat_id = :chat AND {OWNED}"  # noqa: S608
_SIBLINGS = f"""
SELECT id, parent_id FROM messages
WHERE chat_id = :chat AND {OWNED} AND coalesce(parent_id, 0) IN (
    SELECT coalesce(parent_id, 0) FROM messages m WHERE chat_id = :chat AND {VISIBLE}
    GROUP BY parent_id HAVING count(*) > 1)
ORDER BY id
"""  # noqa: S608


async def sibling_groups(db: Database, user_id: int, chat_id: str) -> dict[int | None, list[int]]:
    """By the id of their parent, the messages that have others beside them, oldest first."""
    found: dict[int | None, list[int]] = {}
    values = {"chat": chat_id, "user": user_id}
    for row in await db.fetch_all(_SIBLINGS, values):  # type: ignore[arg-type]
        found.setdefault(row["parent_id"], []).append(row["id"])
    return found


async def get_message(db: Database, user_id: int, chat_id: str, message_id: int) -> Message | None:
    """One message of a chat."""
    values = {"id": message_id, "chat": chat_id, "user": user_id}
    row = await db.fetch_one(_ONE, values)  # type: ignore[arg-type]
    return None if row is None else message_of(row)


async def get(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, message_id: int
) -> Message | None:
    """The same within a transaction, where no other can come in between."""
    values = {"id": message_id, "chat": chat_id, "user": user_id}
    async with connection.execute(_ONE, values) as cursor:
        row = await cursor.fetchone()
    return None if row is None else message_of(row)


async def has_children(connection: aiosqlite.Connection, user_id: int, message_id: int) -> bool:
    async with connection.execute(
        f"SELECT 1 FROM messages WHERE parent_id = :id AND {OWNED} LIMIT 1",  # noqa: S608
        {"id": message_id, "user": user_id},
    ) as cursor:
        return await cursor.fetchone() is not None


async def newest_leaf(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, top: int | None
) -> int | None:
    """The end of the path that was written last, at or below `top`, or in the whole chat."""
    inside = "" if top is None else "AND id IN below"
    async with connection.execute(
        f"{_BELOW} SELECT id FROM messages WHERE chat_id = :chat AND {OWNED} {inside}"  # noqa: S608
        f" AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.parent_id = messages.id AND {VISIBLE})"
        " ORDER BY created_at DESC, id DESC LIMIT 1",
        {"top": top, "chat": chat_id, "user": user_id},
    ) as cursor:
        row = await cursor.fetchone()
    return None if row is None else int(row["id"])


async def sibling_to_show(
    connection: aiosqlite.Connection, user_id: int, message: Message
) -> int | None:
    """The message that is shown instead of this one when it goes: the one before it, or after."""
    async with connection.execute(
        f"SELECT id FROM messages WHERE chat_id = :chat AND {OWNED} AND parent_id IS :parent"  # noqa: S608
        " AND id != :id ORDER BY id > :id, abs(id - :id) LIMIT 1",
        {
            **{"chat": message.chat_id, "parent": message.parent_id, "id": message.id},
            "user": user_id,
        },
    ) as cursor:
        row = await cursor.fetchone()
    return None if row is None else int(row["id"])
