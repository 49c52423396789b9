"""The database of temporary chats: the same tables, in memory alone, for as long as it is open."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiosqlite

from app.db.connection import Database, open_memory

FIRST_ID: Final = 1 << 32
"""Ids of messages and files are larger: none is ever taken for one on the disk."""
_PREPARE: Final = f"""
CREATE TRIGGER user_of_chat BEFORE INSERT ON chats BEGIN
    INSERT INTO users (id, name, created_at) SELECT new.user_id, 'user ' || new.user_id, 0
    WHERE new.user_id NOT IN (SELECT id FROM users);
END;
CREATE TRIGGER user_of_settings BEFORE INSERT ON chat_settings BEGIN
    INSERT INTO users (id, name, created_at) SELECT new.user_id, 'user ' || new.user_id, 0
    WHERE new.user_id NOT IN (SELECT id FROM users);
END;
CREATE TRIGGER user_of_file BEFORE INSERT ON attachments BEGIN
    INSERT INTO users (id, name, created_at) SELECT new.user_id, 'user ' || new.user_id, 0
    WHERE new.user_id NOT IN (SELECT id FROM users);
END;
INSERT INTO sqlite_sequence (name, seq) VALUES ('attachments', {FIRST_ID});
INSERT INTO users (id, name, created_at) VALUES (0, 'nobody', 0);
INSERT INTO chats (id, user_id, title, model, created_at, updated_at) VALUES ('', 0, '', '', 0, 0);
INSERT INTO messages (id, chat_id, role, text, status, created_at)
VALUES ({FIRST_ID}, '', 'user', '', 'done', 0);
"""  # noqa: S608 - a constant


@asynccontextmanager
async def open_temporary_database() -> AsyncIterator[Database]:
    """Open an empty database that no file holds. Users are who asks: they are not checked here."""
    async with open_memory(f"wick-{secrets.token_hex(8)}", _PREPARE) as database:
        yield database


async def delete_settings(connection: aiosqlite.Connection, chat_id: str) -> None:
    """Delete what was chosen for a chat that ends, whoever's it is, before its first message."""
    await connection.execute("DELETE FROM chat_settings WHERE chat_id = ?", (chat_id,))
