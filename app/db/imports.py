"""Chats from a file: written for a holder, a few rows at a time (see import_holders.py)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import aiosqlite

from app.db import chats
from app.db.messages import NEXT_ID
from app.db.staged_imports import MESSAGE_COLUMNS

if TYPE_CHECKING:
    from app.db.connection import Database

_COPIED = tuple(name for name in MESSAGE_COLUMNS if name != "parent")


async def fate(
    db: Database, user_id: int, chat: sqlite3.Row
) -> Literal["new", "there", "in the trash"]:
    """Return what is to become of a chat: it may have been imported before, or be this
    person's own.
    """
    rows = await db.fetch_all(
        "SELECT deleted_at FROM chats WHERE user_id = :user AND (id = :id OR import_key = :key)",
        {"user": user_id, "id": chat["id"], "key": chat["import_key"]},  # type: ignore[arg-type]
    )
    if not rows:
        return "new"
    return "in the trash" if all(row["deleted_at"] is not None for row in rows) else "there"


async def add_chat(connection: aiosqlite.Connection, user_id: int, chat: sqlite3.Row) -> str:
    """The new chat's id: another if its own is taken."""
    async with connection.execute("SELECT 1 FROM chats WHERE id = ?", (chat["id"],)) as cursor:
        is_taken = await cursor.fetchone() is not None
    chat_id: str = chat["spare_id"] if is_taken else chat["id"]
    names = (
        *("title", "title_source", "model", "created_at", "updated_at"),
        *("pinned_at", "archived_at", "import_key"),
    )
    await connection.execute(
        f"INSERT INTO chats (id, user_id, {', '.join(names)})"  # noqa: S608 - own names
        f" VALUES ({', '.join('?' * (len(names) + 2))})",
        (chat_id, user_id, *(chat[name] for name in names)),
    )
    if chat["settings"] is not None:
        await chats.put_settings(connection, user_id, chat_id, chat["settings"], chat["updated_at"])
    return chat_id


async def add_messages(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    messages: Sequence[sqlite3.Row],
    ids: list[int],
) -> None:
    """`ids`: of all messages that stand before these in the file; theirs are added."""
    async with connection.execute(f"SELECT {NEXT_ID}") as cursor:
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - this always has a row
    ids.extend(range(row[0], row[0] + len(messages)))
    await connection.executemany(
        f"INSERT INTO messages (id, chat_id, parent_id, is_imported, {', '.join(_COPIED)})"  # noqa: S608
        f" SELECT ?, id, ?, 1, {', '.join('?' * len(_COPIED))}"
        " FROM chats WHERE id = ? AND user_id = ?",
        [_row(message, ids, chat_id, user_id) for message in messages],
    )


def _row(message: sqlite3.Row, ids: Sequence[int], chat_id: str, user_id: int) -> tuple[Any, ...]:
    parent = None if message["parent"] is None else ids[message["parent"]]
    values = (message[name] for name in _COPIED)
    return (ids[message["place"]], parent, *values, chat_id, user_id)
