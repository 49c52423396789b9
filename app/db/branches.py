"""The messages of a chat as a tree: paths, siblings, and branches that are removed or restored.

Every statement names the user whose chat it is, so nobody reaches another's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import aiosqlite

from app.db import import_holders
from app.db.messages import OWNED, VISIBLE, Message, message_of, with_attachments

if TYPE_CHECKING:
    from app.db.connection import Database

SIZE = import_holders.MESSAGE_CHARS
PAGE_ROWS, PAGE_CHARS = 200, 1_000_000
"""Largest part of a chat in memory while all of it is read."""


async def pages(db: Database, user_id: int, chat_id: str) -> AsyncIterator[list[Message]]:
    """Yield all branches, some messages at a time; parents come before their children."""
    after: int | None = 0
    while after is not None:
        rows = await db.fetch_all(
            f"SELECT id, {SIZE.replace('m.', 'messages.')} AS size FROM messages"  # noqa: S608
            f" WHERE chat_id = :chat AND id > :after AND {OWNED} ORDER BY id LIMIT {PAGE_ROWS}",
            {"chat": chat_id, "user": user_id, "after": after},  # type: ignore[arg-type]
        )
        after = None
        for ids in _in_batches((row["id"], row["size"]) for row in rows):
            yield await _select(db, user_id, chat_id, ids)
            after = ids[-1]


async def path_pages(
    db: Database, user_id: int, chat_id: str, leaf_id: int | None
) -> AsyncIterator[list[Message]]:
    """Yield the messages from the first one down to `leaf_id`, some at a time."""
    rows = await db.fetch_all(
        _PATH_IDS,
        {"leaf": leaf_id, "chat": chat_id, "user": user_id},  # type: ignore[arg-type]
    )
    for ids in _in_batches((row["id"], row["size"]) for row in rows):
        found = {message.id: message for message in await _select(db, user_id, chat_id, ids)}
        yield [found[one] for one in ids if one in found]  # others have gone meanwhile


_PATH_IDS = f"""
WITH RECURSIVE path (id, depth) AS (
    SELECT :leaf, 0
    UNION ALL
    SELECT m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.id
    WHERE m.parent_id IS NOT NULL
)
SELECT m.id, {SIZE} AS size
FROM path JOIN messages m ON m.id = path.id JOIN chats c ON c.id = m.chat_id
WHERE c.id = :chat AND c.user_id = :user ORDER BY path.depth DESC
"""  # noqa: S608


def _in_batches(sizes: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
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


async def _select(db: Database, user_id: int, chat_id: str, ids: Sequence[int]) -> list[Message]:
    marks = ", ".join(f"{int(one)}" for one in ids)
    rows = await db.fetch_all(
        f"SELECT * FROM messages WHERE id IN ({marks}) AND chat_id = :chat AND {OWNED}"  # noqa: S608
        " ORDER BY id",
        {"chat": chat_id, "user": user_id},  # type: ignore[arg-type]
    )
    return await with_attachments(db, user_id, [message_of(row) for row in rows])


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


_BELOW = f"""
WITH RECURSIVE below (id) AS (
    SELECT id FROM messages WHERE id = :top AND {OWNED}
    UNION ALL
    SELECT m.id FROM messages m JOIN below ON m.parent_id = below.id WHERE {VISIBLE}
)
"""  # noqa: S608
"""A message of the user's and all that follows it."""
_SELECT_MESSAGE = f"SELECT * FROM messages WHERE id = :id AND chat_id = :chat AND {OWNED}"  # noqa: S608
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
    row = await db.fetch_one(_SELECT_MESSAGE, values)  # type: ignore[arg-type]
    found = [] if row is None else await with_attachments(db, user_id, [message_of(row)])
    return found[0] if found else None


async def children(db: Database, user_id: int, chat_id: str, parent_id: int) -> list[Message]:
    """List what follows a message directly, oldest first."""
    rows = await db.fetch_all(
        f"SELECT * FROM messages WHERE chat_id = :chat AND parent_id = :parent AND {OWNED} ORDER BY id",  # noqa: S608, E501
        {"chat": chat_id, "parent": parent_id, "user": user_id},  # type: ignore[arg-type]
    )
    return [message_of(row) for row in rows]


async def has_unfinished_elsewhere(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, parent_id: int
) -> bool:
    """Tell whether an answer to another prompt of the chat is on its way."""
    async with connection.execute(
        "SELECT 1 FROM messages WHERE chat_id = :chat AND status = 'queued'"  # noqa: S608
        f" AND parent_id IS NOT :parent AND {OWNED} LIMIT 1",
        {"chat": chat_id, "parent": parent_id, "user": user_id},
    ) as cursor:
        return await cursor.fetchone() is not None


async def get(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, message_id: int
) -> Message | None:
    """Get a message within a transaction, where no other can come in between."""
    values = {"id": message_id, "chat": chat_id, "user": user_id}
    async with connection.execute(_SELECT_MESSAGE, values) as cursor:
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


# Removals. Removed messages stay in their table. First each is noted, a few at a time, which
# changes nothing that anybody sees; then one row, the removal, hides all of them at once, and
# without it all are there again. So a chat of any size keeps no other writer waiting, and no part
# of it is ever seen without the rest.


_IN_REMOVAL = """
SELECT 1 FROM messages m CROSS JOIN removed_messages r ON r.message_id = m.id
JOIN chats c ON c.id = m.chat_id WHERE c.user_id = :user AND r.top = :top
"""


async def prepare_removal(db: Database, user_id: int, chat_id: str, top: int) -> None:
    """Note a message and all below it, also what is written there meanwhile, for `hide_branch`."""
    after, below = top - 1, set[int]()
    while rows := await db.fetch_all(
        "SELECT id, parent_id FROM messages"  # noqa: S608
        f" WHERE chat_id = :chat AND id > :after AND {OWNED} ORDER BY id LIMIT :step",
        {"chat": chat_id, "user": user_id, "after": after, "step": import_holders.STEP_ROWS},  # type: ignore[arg-type]
    ):
        found = list[tuple[int, int]]()
        for row in rows:  # parents come before their children
            if row["id"] == top or row["parent_id"] in below:
                below.add(row["id"])
                found.append((row["id"], top))
        after = rows[-1]["id"]
        await db.write(lambda c, f=found: _note(c, f))  # type: ignore[misc]


async def _note(connection: aiosqlite.Connection, found: list[tuple[int, int]]) -> None:
    """Note messages; those that have gone meanwhile are left out."""
    await connection.executemany(
        "INSERT OR REPLACE INTO removed_messages (message_id, top)"
        " SELECT id, ?2 FROM messages WHERE id = ?1",
        found,
    )


async def is_in_removal(
    connection: aiosqlite.Connection, user_id: int, top: int, message_id: int | None
) -> bool:
    """Return whether this message is at or below `top`, after `prepare_removal`."""
    async with connection.execute(
        f"{_IN_REMOVAL} AND m.id = :id",
        {"top": top, "user": user_id, "id": message_id},
    ) as cursor:
        return await cursor.fetchone() is not None


async def has_unfinished(connection: aiosqlite.Connection, user_id: int, top: int) -> bool:
    """Return whether an answer is pending at or below `top`, after `prepare_removal`."""
    async with connection.execute(
        f"{_IN_REMOVAL} AND m.status = 'queued' LIMIT 1", {"top": top, "user": user_id}
    ) as cursor:
        return await cursor.fetchone() is not None


async def hide_branch(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    top: int,
    leaf_id: int | None,
    now: float,
) -> None:
    """Take what was prepared out of the chat; `restore_branch` brings it back.

    leaf_id: where the chat's path ended until now. Does nothing to what is another's.
    """
    await connection.execute(
        "INSERT OR REPLACE INTO removals (message_id, chat_id, leaf_id, removed_at)"  # noqa: S608
        f" SELECT id, chat_id, :leaf, :now FROM messages WHERE id = :top AND chat_id = :chat"
        f" AND {OWNED}",
        {"top": top, "chat": chat_id, "user": user_id, "leaf": leaf_id, "now": now},
    )


async def restore_branch(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, top: int
) -> int | None:
    """Show a branch again, and return the end of the path as it was; None when it is too late.

    It is too late when the branch was purged, or what it followed is gone as well.
    """
    values = {"top": top, "chat": chat_id, "user": user_id}
    async with connection.execute(
        "SELECT r.leaf_id FROM removals r JOIN chats c ON c.id = r.chat_id"
        " JOIN messages m ON m.id = r.message_id"
        " WHERE r.message_id = :top AND c.id = :chat AND c.user_id = :user AND r.is_final = 0"
        " AND NOT EXISTS (SELECT 1 FROM hidden_messages h WHERE h.message_id = m.parent_id)",
        values,
    ) as cursor:
        kept = await cursor.fetchone()
    if kept is None:
        return None
    await connection.execute("DELETE FROM removals WHERE message_id = ?", (top,))
    if kept["leaf_id"] is not None and await is_in_removal(
        connection, user_id, top, kept["leaf_id"]
    ):
        return int(kept["leaf_id"])
    async with connection.execute(
        "SELECT max(message_id) FROM removed_messages WHERE top = ?", (top,)
    ) as cursor:
        last = await cursor.fetchone()
    return top if last is None or last[0] is None else int(last[0])


async def clear_removal(db: Database, top: int) -> None:
    """Drop the notes of a removal that was taken back, or not made after all."""
    while await db.write(lambda c: _clear_some(c, "top = ?", top)):
        pass


async def clear_unused_removals(db: Database) -> None:
    """Drop the notes that a crash left over."""
    while await db.write(lambda c: _clear_some(c, "top NOT IN (SELECT message_id FROM removals)")):
        pass


async def _clear_some(connection: aiosqlite.Connection, which: str, *values: int) -> bool:
    """Return whether there is more."""
    cursor = await connection.execute(
        "DELETE FROM removed_messages WHERE message_id IN"  # noqa: S608 - one of the two above
        f" (SELECT message_id FROM removed_messages WHERE {which} LIMIT ?)",
        (*values, import_holders.STEP_ROWS),
    )
    return cursor.rowcount == import_holders.STEP_ROWS


async def purge_removals(db: Database, removed_before: float) -> None:
    """Delete for good what was deleted before then, a few messages at a time."""
    rows = await db.fetch_all(
        "SELECT message_id FROM removals WHERE removed_at < ? OR is_final = 1", (removed_before,)
    )
    for row in rows:
        await _erase(db, row["message_id"])


async def _erase(db: Database, top: int) -> None:
    if not await db.write(lambda c: _finalize(c, top)):
        return
    # What was deleted before, below this: it would go with what it follows, all in one step.
    for row in await db.fetch_all(
        "SELECT r.message_id FROM removals r JOIN messages m ON m.id = r.message_id"
        " JOIN removed_messages p ON p.message_id = m.parent_id WHERE p.top = ?",
        (top,),
    ):
        await _erase(db, row["message_id"])
    while await db.write(lambda c: _erase_some(c, top)):
        pass


async def _finalize(connection: aiosqlite.Connection, top: int) -> bool:
    """Make a removal final. False when it has just been taken back."""
    cursor = await connection.execute(
        "UPDATE removals SET is_final = 1 WHERE message_id = ?", (top,)
    )
    return cursor.rowcount > 0


async def _erase_some(connection: aiosqlite.Connection, top: int) -> bool:
    """Return whether there is more. The newest first, on which none depends."""
    rows = await connection.execute_fetchall(
        f"SELECT m.id, {SIZE} AS size FROM removed_messages r"  # noqa: S608
        " JOIN messages m ON m.id = r.message_id"
        " WHERE r.top = ? ORDER BY r.message_id DESC LIMIT ?",
        (top, import_holders.STEP_ROWS),
    )
    if await import_holders.erase_first(connection, rows):
        return True
    await connection.execute("DELETE FROM removals WHERE message_id = ? AND is_final = 1", (top,))
    return False
