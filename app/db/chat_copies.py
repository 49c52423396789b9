"""Copies of chats: a new chat with part of another's messages, written a few rows at a time.

What is not whole yet belongs to a holder (`app/db/import_holders.py`), so nobody sees a part of it.
"""

# ruff: noqa: S608 - only names of this module are joined

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final

import aiosqlite

from app.db import attachments, chats, import_holders
from app.db.attachments import NewAttachment
from app.db.chats import Chat
from app.db.messages import COLUMNS, NEXT_ID, Message

_OWN: Final = frozenset(
    {"id", "user_id", "title", "leaf_id", "created_at", "updated_at"}
    | {"deleted_at", "pinned_at", "archived_at", "is_unread"}
)
"""Columns of a chat that its copy has anew; all others are as they were."""
_COPIED: Final = tuple(
    name
    for name in COLUMNS
    if name not in {"id", "chat_id", "parent_id", "client_id", "is_imported"}
)


async def add_chat(
    connection: aiosqlite.Connection,
    user_id: int,
    original: Chat,
    chat_id: str,
    title: str,
    now: float,
) -> None:
    """Add an empty chat with the model and settings of another, for `user_id`."""
    kept = {f.name: getattr(original, f.name) for f in fields(Chat) if f.name not in _OWN}
    values = kept | {"id": chat_id, "user_id": user_id, "title": title}
    values |= {"created_at": now, "updated_at": now}
    await connection.execute(
        f"INSERT INTO chats ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
        tuple(values.values()),
    )
    await connection.execute(
        "INSERT INTO chat_personas (chat_id, persona_id)"
        " SELECT ?, persona_id FROM chat_personas WHERE chat_id = ?",
        (chat_id, original.id),
    )
    rows = await connection.execute_fetchall(
        "SELECT settings, tools FROM chat_settings WHERE chat_id = ? AND user_id = ?",
        (original.id, original.user_id),
    )
    for row in rows:
        await chats.put_settings(connection, user_id, chat_id, row["settings"], now)
        await chats.put_tools(connection, user_id, chat_id, row["tools"], now)


async def add_messages(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    parent_id: int | None,
    path: Sequence[Message],
) -> int | None:
    """Add messages, each below the one before it, the first below `parent_id`. Return the last id.

    They count as imported: their speed was measured where they come from.
    """
    person = await import_holders.person_of(connection, user_id)
    for message in path:
        cursor = await connection.execute(
            f"INSERT INTO messages (id, chat_id, parent_id, is_imported, {', '.join(_COPIED)})"
            f" SELECT {NEXT_ID}, id, ?, 1, {', '.join('?' * len(_COPIED))}"
            " FROM chats WHERE id = ? AND user_id = ?",
            (parent_id, *(getattr(message, name) for name in _COPIED), chat_id, user_id),
        )
        parent_id = cursor.lastrowid
        if parent_id is not None and message.attachments:
            at = message.created_at
            await attachments.copy(connection, person, message.id, parent_id, at)
    return parent_id


async def add_tree(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    page: Sequence[Message],
    files: Mapping[int, Sequence[NewAttachment]],
    ids: dict[int, int],
) -> None:
    """Add messages of another database, parents first, with their `files`.

    ids: the new id of each message that has been added, by its old one; these are added.
    """
    person = await import_holders.person_of(connection, user_id)
    for message in page:
        cursor = await connection.execute(
            f"INSERT INTO messages (id, chat_id, parent_id, is_imported, {', '.join(_COPIED)})"
            f" SELECT {NEXT_ID}, id, ?, 1, {', '.join('?' * len(_COPIED))}"
            " FROM chats WHERE id = ? AND user_id = ?",
            (
                ids.get(message.parent_id or 0),
                *(getattr(message, name) for name in _COPIED),
                chat_id,
                user_id,
            ),
        )
        assert cursor.lastrowid is not None  # noqa: S101 - it was inserted
        ids[message.id] = cursor.lastrowid
        for place, file in enumerate(files.get(message.id, ())):
            at = message.created_at
            await attachments.add(connection, person, file, at, cursor.lastrowid, place)
