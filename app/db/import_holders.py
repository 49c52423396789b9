"""Holders are users nobody can be: they hold the chats of an import and copies that are not whole
yet, and chats that are being removed. What they hold nobody sees; it comes in, or goes, a few rows
at a time, so that no step keeps other writers waiting for long.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import aiosqlite

from app.db import folder_documents, folders, responses, users

if TYPE_CHECKING:
    from app.db.connection import Database

STEP_ROWS: Final = 200
STEP_CHARS: Final = 1_000_000
"""Characters of the texts that are written or deleted in one transaction."""
STEP_CHATS: Final = 200
MESSAGE_CHARS: Final = (
    "(length(m.text) + coalesce(length(m.thought), 0) + coalesce(length(m.calls), 0)"
    " + (SELECT coalesce(sum(length(a.text)), 0) FROM attachments a WHERE a.message_id = m.id))"
)
"""Characters of a message `m` with all that goes with it."""
_being_filled: WeakKeyDictionary[Database, set[int]] = WeakKeyDictionary()


def being_filled(db: Database) -> set[int]:
    """Return the holders that something of this process still fills: no crash left them behind."""
    return _being_filled.setdefault(db, set())


async def add(connection: aiosqlite.Connection, user_id: int) -> int:
    """Add a holder for a user, and return its id."""
    name = f"holder {secrets.token_hex(8)}"
    holder = await users.add(connection, name, name, None, "member", time.time())
    await connection.execute("UPDATE users SET holds_for = ? WHERE id = ?", (user_id, holder))
    return holder


async def person_of(connection: aiosqlite.Connection, holder: int) -> int:
    """The user for whom a holder holds; anybody else is their own."""
    async with connection.execute("SELECT holds_for FROM users WHERE id = ?", (holder,)) as found:
        row = await found.fetchone()
    return holder if row is None or row["holds_for"] is None else int(row["holds_for"])


async def take_over(connection: aiosqlite.Connection, user_id: int, chat_id: str) -> int | None:
    """Take a chat out of the user's trash, for `erase`; return its holder, None if not there."""
    async with connection.execute(
        "SELECT 1 FROM chats WHERE id = ? AND user_id = ? AND deleted_at IS NOT NULL",
        (chat_id, user_id),
    ) as cursor:
        if await cursor.fetchone() is None:
            return None
    holder = await add(connection, user_id)
    values = {"holder": holder, "chat": chat_id, "user": user_id}
    await connection.execute(
        "UPDATE chats SET user_id = :holder WHERE id = :chat AND user_id = :user", values
    )
    await connection.execute(
        "UPDATE chat_settings SET user_id = :holder WHERE chat_id = :chat AND user_id = :user",
        values,
    )
    return holder


async def seal(connection: aiosqlite.Connection, holder: int) -> None:
    """Mark a holder whose import is complete: its chats are the user's, whatever happens."""
    await connection.execute("UPDATE users SET is_whole = 1 WHERE id = ?", (holder,))


async def deliver(db: Database, holder: int) -> None:
    """Hand what a sealed holder has to its user."""
    while await db.write(lambda c: folder_documents.deliver_one(c, holder)):
        pass
    await db.write(lambda c: folders.deliver(c, holder))
    while await db.write(lambda c: _deliver_some(c, holder)):
        pass


async def _deliver_some(connection: aiosqlite.Connection, holder: int) -> bool:
    """Return whether there is more."""
    values = {"holder": holder, "step": STEP_CHATS}
    some = "(SELECT id FROM chats WHERE user_id = :holder LIMIT :step)"
    user = "(SELECT holds_for FROM users WHERE id = :holder)"
    await connection.execute(
        f"UPDATE chat_settings SET user_id = {user} WHERE chat_id IN {some}",  # noqa: S608
        values,
    )
    cursor = await connection.execute(
        f"UPDATE chats SET user_id = {user} WHERE id IN {some}",  # noqa: S608
        values,
    )
    if cursor.rowcount == STEP_CHATS:
        return True
    await users.remove(connection, holder)
    return False


async def erase(db: Database, user_id: int) -> None:
    """Delete all that a holder or a user has, and the row itself, for good."""
    for holder in await _of(db, user_id):
        await erase(db, holder)
    while rows := await db.fetch_all(
        "SELECT id FROM chats WHERE user_id = ? LIMIT 100", (user_id,)
    ):
        for row in rows:
            await erase_chat(db, user_id, row["id"])
    while await db.write(lambda c: responses.remove_some(c, user_id)):
        pass
    await db.write(lambda c: users.remove(c, user_id))


async def erase_chat(db: Database, user_id: int, chat_id: str) -> None:
    while await db.write(lambda c: _erase_some(c, user_id, chat_id)):
        pass


async def _erase_some(connection: aiosqlite.Connection, user_id: int, chat_id: str) -> bool:
    """Return whether there is more. The newest first, on which none depends."""
    values = {"user": user_id, "chat": chat_id, "step": STEP_ROWS}
    rows = await connection.execute_fetchall(
        f"SELECT m.id, {MESSAGE_CHARS} AS size FROM messages m JOIN chats c ON c.id = m.chat_id"  # noqa: S608
        " WHERE c.id = :chat AND c.user_id = :user ORDER BY m.id DESC LIMIT :step",
        values,
    )
    if await erase_first(connection, rows):
        return True
    await connection.execute("DELETE FROM chats WHERE id = :chat AND user_id = :user", values)
    return False


async def erase_first(connection: aiosqlite.Connection, rows: Iterable[sqlite3.Row]) -> bool:
    """Delete as many of these messages as one step may. Whether there were any."""
    chosen, room = list[tuple[int]](), STEP_CHARS
    for row in rows:
        if chosen and room < row["size"]:
            break
        room -= row["size"]
        chosen.append((row["id"],))
    await connection.executemany("DELETE FROM messages WHERE id = ?", chosen)
    return bool(chosen)


async def unfinished(db: Database) -> list[tuple[int, bool]]:
    """List holders, and whether each has been sealed."""
    rows = await db.fetch_all("SELECT id, is_whole FROM users WHERE holds_for IS NOT NULL")
    return [(row["id"], bool(row["is_whole"])) for row in rows]


async def _of(db: Database, user_id: int) -> list[int]:
    rows = await db.fetch_all("SELECT id FROM users WHERE holds_for = ?", (user_id,))
    return [row["id"] for row in rows]
