"""The whole tree of a chat's messages, and the paths through it; every statement names its user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from app.store.messages import OWNED, VISIBLE, Message, message_of

if TYPE_CHECKING:
    from app.store.db import Database


PAGE_ROWS, PAGE_CHARS = 200, 1_000_000
"""Of a chat that is read as a whole: what is in memory at a time."""


async def pages(db: Database, user_id: int, chat_id: str) -> AsyncIterator[list[Message]]:
    """All branches, some messages at a time; parents come before their children."""
    after: int | None = 0
    while after is not None:
        rows = await db.fetch_all(
            "SELECT id, length(text) AS size FROM messages"  # noqa: S608
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
SELECT m.id, length(m.text) AS size
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
    """Where the path ends that goes through this message and then always to the newest.

    None when the chat has no such message.
    """
    values = {"message": message_id, "chat": chat_id, "user": user_id}
    row = await db.fetch_one(_LAST, values)  # type: ignore[arg-type]
    return None if row is None else row["id"]
