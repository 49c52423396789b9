"""The messages of a chat as a tree: siblings, paths, branches that come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import aiosqlite

from app.db.messages import OWNED, VISIBLE, Message, message_of

if TYPE_CHECKING:
    from app.db.connection import Database


# The whole tree of a chat's messages, and the paths through it; every statement names its user.


PAGE_ROWS, PAGE_CHARS = 200, 1_000_000
"""Of a chat that is read as a whole: what is in memory at a time."""


async def pages(db: Database, user_id: int, chat_id: str) -> AsyncIterator[list[Message]]:
    """Yield all branches, some messages at a time; parents come before their children."""
    after: int | None = 0
    while after is not None:
        rows = await db.fetch_all(
            "SELECT id, length(text) + coalesce(length(thought), 0) AS size FROM messages"  # noqa: S608
            f" WHERE chat_id = :chat AND id > :after AND {OWNED} ORDER BY id LIMIT {PAGE_ROWS}",
            {"chat": chat_id, "user": user_id, "after": after},  # type: ignore[arg-type]
        )
        after = None
        for ids in _cut((row["id"], row["size"]) for row in rows):
            yield await _those(db, user_id, chat_id, ids)
            after = ids[-1]


async def path_pages(
    db: Database, user_id: int, chat_id: str, leaf_id: int | None
) -> AsyncIterator[list[Message]]:
    """The messages from the first one down to `leaf_id`, some at a time."""
    rows = await db.fetch_all(
        _PATH_IDS,
        {"leaf": leaf_id, "chat": chat_id, "user": user_id},  # type: ignore[arg-type]
    )
    for ids in _cut((row["id"], row["size"]) for row in rows):
        found = {message.id: message for message in await _those(db, user_id, chat_id, ids)}
        yield [found[one] for one in ids if one in found]  # others have gone meanwhile


_PATH_IDS = """
WITH RECURSIVE path (id, depth) AS (
    SELECT :leaf, 0
    UNION ALL
    SELECT m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.id
    WHERE m.parent_id IS NOT NULL
)
SELECT m.id, length(m.text) + coalesce(length(m.thought), 0) AS size
FROM path JOIN messages m ON m.id = path.id JOIN chats c ON c.id = m.chat_id
WHERE c.id = :chat AND c.user_id = :user ORDER BY path.depth DESC
"""


def _cut(sizes: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Ids in groups that are small enough to be read at once."""
    group, chars = list[int](), 0
    for one, size in sizes:
        if group and (len(group) == PAGE_ROWS or chars + size > PAGE_CHARS):
            yield group
            group, chars = [], 0
        group.append(one)
        chars += size
    if group:
        yield group


async def _those(db: Database, user_id: int, chat_id: str, ids: Sequence[int]) -> list[Message]:
    marks = ", ".join(f"{int(one)}" for one in ids)
    rows = await db.fetch_all(
        f"SELECT * FROM messages WHERE id IN ({marks}) AND chat_id = :chat AND {OWNED}"  # noqa: S608
        " ORDER BY id",
        {"chat": chat_id, "user": user_id},  # type: ignore[arg-type]
    )
    return [message_of(row) for row in rows]


_LAST = f"""
WITH RECURSIVE below (id) AS (
    SELECT id FROM messages WHERE id = :message AND chat_id = :chat AND {OWNED}
    UNION ALL
    SELECT (SELECT max(m.id) FROM messages m WHERE m.parent_id = below.id AND {VISIBLE}) FROM below
    WHERE below.id IS NOT NULL
)
SELECT max(id) AS id FROM below
"""  # noqa: S608


async def deepest_descendant(
    db: Database, user_id: int, chat_id: str, message_id: int
) -> int | None:
    """Return where the path ends that goes through this message and then always to the newest.

    None when the chat has no such message.
    """
    values = {"message": message_id, "chat": chat_id, "user": user_id}
    row = await db.fetch_one(_LAST, values)  # type: ignore[arg-type]
    return None if row is None else row["id"]


# The messages of a chat as a tree: what stands beside what, and where each path ends.
#
# Every statement names the user whose chat it is, so nobody reaches another's.


_BELOW = f"""
WITH RECURSIVE below (id) AS (
    SELECT id FROM messages WHERE id = :top AND {OWNED}
    UNION ALL
    SELECT m.id FROM messages m JOIN below ON m.parent_id = below.id WHERE {VISIBLE}
)
"""  # noqa: S608
"""A message of the user's and all that follows it."""
_ONE = f"SELECT * FROM messages WHERE id = :id AND chat_id = :chat AND {OWNED}"  # noqa: S608
_SIBLINGS = f"""
SELECT id, parent_id FROM messages
WHERE chat_id = :chat AND {OWNED} AND coalesce(parent_id, 0) IN (
    SELECT coalesce(parent_id, 0) FROM messages m WHERE chat_id = :chat AND {VISIBLE}
    GROUP BY parent_id HAVING count(*) > 1)
ORDER BY id
"""  # noqa: S608


async def sibling_groups(db: Database, user_id: int, chat_id: str) -> dict[int | None, list[int]]:
    """Map parents to their messages where there are several, oldest first."""
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
