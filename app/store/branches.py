"""The messages of a chat as a tree: what stands beside what, and branches that come and go.

Every statement names the user whose chat it is, so nobody reaches another's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiosqlite

from app.store.messages import OWNED, Message, is_saved, message_of

if TYPE_CHECKING:
    from app.store.db import Database

_BELOW = f"""
WITH RECURSIVE below (id) AS (
    SELECT id FROM messages WHERE id = :top AND {OWNED}
    UNION ALL
    SELECT m.id FROM messages m JOIN below ON m.parent_id = below.id
)
"""  # noqa: S608
"""A message of the person's and all that follows it."""
_ONE = f"SELECT * FROM messages WHERE id = :id AND chat_id = :chat AND {OWNED}"  # noqa: S608
_FORKS = f"""
SELECT id, parent_id FROM messages
WHERE chat_id = :chat AND {OWNED} AND coalesce(parent_id, 0) IN (
    SELECT coalesce(parent_id, 0) FROM messages WHERE chat_id = :chat
    GROUP BY parent_id HAVING count(*) > 1)
ORDER BY id
"""  # noqa: S608


async def forks(db: Database, user_id: int, chat_id: str) -> dict[int | None, list[int]]:
    """By the id of their parent, the messages that have others beside them, oldest first."""
    found: dict[int | None, list[int]] = {}
    values = {"chat": chat_id, "user": user_id}
    for row in await db.fetch_all(_FORKS, values):  # type: ignore[arg-type]
        found.setdefault(row["parent_id"], []).append(row["id"])
    return found


async def read(db: Database, user_id: int, chat_id: str, message_id: int) -> Message | None:
    """One message of a chat."""
    values = {"id": message_id, "chat": chat_id, "user": user_id}
    row = await db.fetch_one(_ONE, values)  # type: ignore[arg-type]
    return None if row is None else message_of(row)


async def find(
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
        " AND NOT EXISTS (SELECT 1 FROM messages c WHERE c.parent_id = messages.id)"
        " ORDER BY created_at DESC, id DESC LIMIT 1",
        {"top": top, "chat": chat_id, "user": user_id},
    ) as cursor:
        row = await cursor.fetchone()
    return None if row is None else int(row["id"])


async def neighbour(connection: aiosqlite.Connection, user_id: int, message: Message) -> int | None:
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


async def is_unfinished(connection: aiosqlite.Connection, user_id: int, top: int) -> bool:
    """Whether an answer is still to be written at or below `top`."""
    async with connection.execute(
        f"{_BELOW} SELECT 1 FROM messages WHERE id IN below AND status = 'queued' LIMIT 1",  # noqa: S608
        {"top": top, "user": user_id},
    ) as cursor:
        return await cursor.fetchone() is not None


async def is_on_path(
    connection: aiosqlite.Connection, user_id: int, top: int, leaf_id: int | None
) -> bool:
    """Whether `leaf_id` is at or below `top`."""
    async with connection.execute(
        f"{_BELOW} SELECT 1 FROM below WHERE id = :leaf",  # noqa: S608
        {"top": top, "leaf": leaf_id, "user": user_id},
    ) as cursor:
        return await cursor.fetchone() is not None


async def remove(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    top: int,
    leaf_id: int | None,
    now: float,
) -> None:
    """Take a message and all below it out of the chat; `restore` brings them back.

    leaf_id: where the chat's path ended until now. Does nothing to what is another's.
    """
    async with connection.execute(
        f"{_BELOW} SELECT * FROM messages WHERE id IN below AND chat_id = :chat ORDER BY id",  # noqa: S608
        {"top": top, "chat": chat_id, "user": user_id},
    ) as cursor:
        rows = [dict(row) for row in await cursor.fetchall()]
    if not rows:
        return
    await connection.execute(
        "INSERT OR REPLACE INTO removed (message_id, chat_id, rows, leaf_id, newest_id, removed_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (top, chat_id, json.dumps(rows), leaf_id, rows[-1]["id"], now),
    )
    await connection.execute(
        f"DELETE FROM messages WHERE id = :id AND {OWNED}",  # noqa: S608
        {"id": top, "user": user_id},
    )


async def restore(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, message_id: int
) -> int | None:
    """Put back what `remove` took. The end of the path as it was; None when it is too late.

    It is too late when it was forgotten, or what it followed is gone as well.
    """
    async with connection.execute(
        "SELECT r.rows, r.leaf_id FROM removed r JOIN chats c ON c.id = r.chat_id"
        " WHERE r.message_id = ? AND c.id = ? AND c.user_id = ?",
        (message_id, chat_id, user_id),
    ) as cursor:
        kept = await cursor.fetchone()
    if kept is None:
        return None
    rows: list[dict[str, Any]] = json.loads(kept["rows"])
    above = rows[0]["parent_id"]
    if above is not None and await find(connection, user_id, chat_id, above) is None:
        return None
    for row in rows:
        if row["client_id"] and await is_saved(connection, user_id, chat_id, row["client_id"]):
            row["client_id"] = None  # the same wish was fulfilled again meanwhile
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        await connection.execute(
            f"INSERT INTO messages ({names}) SELECT {places} FROM chats"  # noqa: S608
            " WHERE id = :chat_id AND user_id = :user",
            {**row, "user": user_id},
        )
    await connection.execute(
        "DELETE FROM removed WHERE message_id = ?"
        " AND chat_id = (SELECT id FROM chats WHERE id = ? AND user_id = ?)",
        (message_id, chat_id, user_id),
    )
    leaf: int = kept["leaf_id"]
    return leaf if any(row["id"] == leaf for row in rows) else int(rows[-1]["id"])


async def forget_removed(connection: aiosqlite.Connection, removed_before: float) -> None:
    """What was deleted before then is gone for good."""
    await connection.execute("DELETE FROM removed WHERE removed_at < ?", (removed_before,))
