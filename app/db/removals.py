"""Messages that are deleted, with all that follows them, and come back when that is undone.

They stay in their table. First each is noted, a few at a time, which changes nothing that anybody
sees; then one row, the removal, hides all of them at once, and without it all are there again. So
a chat of any size keeps no other writer waiting, and no part of it is ever seen without the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiosqlite

from app.db import import_holders
from app.db.messages import OWNED

if TYPE_CHECKING:
    from app.db.connection import Database

_IN_REMOVAL = """
SELECT 1 FROM messages m CROSS JOIN removed_messages r ON r.message_id = m.id
JOIN chats c ON c.id = m.chat_id WHERE c.user_id = :user AND r.top = :top
"""


async def prepare(db: Database, user_id: int, chat_id: str, top: int) -> None:
    """Note a message and all below it, for `hide`; what is written below meanwhile is noted too."""
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
    """Those that have gone meanwhile are left out."""
    await connection.executemany(
        "INSERT OR REPLACE INTO removed_messages (message_id, top)"
        " SELECT id, ?2 FROM messages WHERE id = ?1",
        found,
    )


async def is_noted(
    connection: aiosqlite.Connection, user_id: int, top: int, message_id: int | None
) -> bool:
    """Return whether this message is at or below `top`, after `prepare`."""
    async with connection.execute(
        f"{_IN_REMOVAL} AND m.id = :id",
        {"top": top, "user": user_id, "id": message_id},
    ) as cursor:
        return await cursor.fetchone() is not None


async def is_unfinished(connection: aiosqlite.Connection, user_id: int, top: int) -> bool:
    """Return whether an answer is still to be written at or below `top`, after `prepare`."""
    async with connection.execute(
        f"{_IN_REMOVAL} AND m.status = 'queued' LIMIT 1", {"top": top, "user": user_id}
    ) as cursor:
        return await cursor.fetchone() is not None


async def hide(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    top: int,
    leaf_id: int | None,
    now: float,
) -> None:
    """Take what was prepared out of the chat; `restore` brings it back.

    leaf_id: where the chat's path ended until now. Does nothing to what is another's.
    """
    await connection.execute(
        "INSERT OR REPLACE INTO removals (message_id, chat_id, leaf_id, removed_at)"  # noqa: S608
        f" SELECT id, chat_id, :leaf, :now FROM messages WHERE id = :top AND chat_id = :chat"
        f" AND {OWNED}",
        {"top": top, "chat": chat_id, "user": user_id, "leaf": leaf_id, "now": now},
    )


async def restore(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, top: int
) -> int | None:
    """Show again what `hide` took. The end of the path as it was; None when it is too late.

    It is too late when it was forgotten, or what it followed is gone as well.
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
    if kept["leaf_id"] is not None and await is_noted(connection, user_id, top, kept["leaf_id"]):
        return int(kept["leaf_id"])
    async with connection.execute(
        "SELECT max(message_id) FROM removed_messages WHERE top = ?", (top,)
    ) as cursor:
        last = await cursor.fetchone()
    return top if last is None or last[0] is None else int(last[0])


async def clear(db: Database, top: int) -> None:
    """Drop the notes of a removal that was taken back, or not made after all."""
    while await db.write(lambda c: _clear_some(c, "top = ?", top)):
        pass


async def clear_all(db: Database) -> None:
    """The same of whatever a crash left over."""
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


async def purge(db: Database, removed_before: float) -> None:
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
    """Nobody can take it back from now on. False when somebody did just before."""
    cursor = await connection.execute(
        "UPDATE removals SET is_final = 1 WHERE message_id = ?", (top,)
    )
    return cursor.rowcount > 0


async def _erase_some(connection: aiosqlite.Connection, top: int) -> bool:
    """Return whether there is more. The newest first, on which none depends."""
    rows = await connection.execute_fetchall(
        "SELECT m.id, length(m.text) AS size FROM removed_messages r"
        " JOIN messages m ON m.id = r.message_id"
        " WHERE r.top = ? ORDER BY r.message_id DESC LIMIT ?",
        (top, import_holders.STEP_ROWS),
    )
    if await import_holders.erase_first(connection, rows):
        return True
    await connection.execute("DELETE FROM removals WHERE message_id = ? AND is_final = 1", (top,))
    return False
