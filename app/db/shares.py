"""The table of links by which people let others read a chat, known only by their hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiosqlite

from app.db.chats import Chat, chat_of

if TYPE_CHECKING:
    from app.db.connection import Database


async def put(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, token_hash: bytes, now: float
) -> bool:
    """Replace the link. Return whether this user has such a chat outside the trash."""
    cursor = await connection.execute(
        "INSERT INTO shares (chat_id, token_hash, created_at)"
        " SELECT id, ?, ? FROM chats WHERE id = ? AND user_id = ? AND deleted_at IS NULL"
        " ON CONFLICT (chat_id) DO UPDATE SET"
        " token_hash = excluded.token_hash, created_at = excluded.created_at",
        (token_hash, now, chat_id, user_id),
    )
    return cursor.rowcount > 0


async def end(connection: aiosqlite.Connection, user_id: int, chat_id: str) -> bool:
    """Return whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM shares WHERE chat_id = (SELECT id FROM chats WHERE id = ? AND user_id = ?)",
        (chat_id, user_id),
    )
    return cursor.rowcount > 0


async def since(db: Database, user_id: int, chat_id: str) -> float | None:
    """Return when this chat was shared; None when it is not."""
    row = await db.fetch_one(
        "SELECT s.created_at FROM shares s JOIN chats c ON c.id = s.chat_id"
        " WHERE s.chat_id = ? AND c.user_id = ?",
        (chat_id, user_id),
    )
    return None if row is None else float(row["created_at"])


async def get(db: Database, token_hash: bytes) -> Chat | None:
    """The chat that this link shows. None of somebody who is kept out, or leaves."""
    row = await db.fetch_one(
        "SELECT c.* FROM shares s JOIN chats c ON c.id = s.chat_id JOIN users u ON u.id = c.user_id"
        " WHERE s.token_hash = ? AND c.deleted_at IS NULL AND u.disabled_at IS NULL"
        " AND u.id NOT IN (SELECT user_id FROM leavers)",
        (token_hash,),
    )
    return None if row is None else chat_of(row)
