"""Imports of chats: staged in a database of their own, then taken over a few rows at a time.

The process that reads the file writes the staging database, and the one that serves reads it. The
chats come to a holder first (`app/db/import_holders.py`), so nobody sees a part of them.
"""

# ruff: noqa: S608 - only names of this module are joined

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import aiosqlite
import msgspec

from app.db import attachments, chats, folders, import_holders
from app.db.attachments import NewAttachment
from app.db.messages import FILE_COLUMNS, NEXT_ID

if TYPE_CHECKING:
    from app.db.connection import Database

CHAT_COLUMNS: Final = (
    *("id", "spare_id", "import_key", "title", "title_source", "model", "created_at"),
    *("updated_at", "pinned_at", "archived_at", "settings", "folder", "leaf"),
)
MESSAGE_COLUMNS: Final = ("parent", "attachments", *(name for name in FILE_COLUMNS if name != "id"))
"""Columns as a file has them, attachments as JSON; messages get ids when they are taken over."""
_COPIED = tuple(name for name in MESSAGE_COLUMNS if name not in {"parent", "attachments"})
NAMED_LEFT_OUT: Final = 50
"""Entries that were left out and are listed by name; of the others only the number is."""


def create_staging(path: Path) -> sqlite3.Connection:
    """Create an empty staging database; nothing of it need survive a crash."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"CREATE TABLE chats (place INTEGER PRIMARY KEY, {', '.join(CHAT_COLUMNS)})")
    connection.execute(
        f"CREATE TABLE messages (chat INTEGER, place INTEGER, {', '.join(MESSAGE_COLUMNS)},"
        " PRIMARY KEY (chat, place)) WITHOUT ROWID"
    )
    connection.execute("CREATE TABLE pictures (digest TEXT PRIMARY KEY, data BLOB)")
    connection.execute("CREATE TABLE about (text TEXT)")
    connection.execute("CREATE TABLE folders (place INTEGER PRIMARY KEY, about TEXT)")
    connection.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, folder INTEGER, file TEXT)")
    connection.execute("CREATE TABLE left_out (name TEXT, reason TEXT)")
    connection.execute("CREATE TABLE counts (empty INTEGER, left_out INTEGER)")
    connection.execute("INSERT INTO counts VALUES (0, 0)")
    return connection


def stage_chat(
    connection: sqlite3.Connection,
    place: int,
    chat: Mapping[str, Any],
    messages: Iterable[Mapping[str, Any]],
) -> None:
    """Stage a chat. `parent` and `leaf` are places in `messages`."""
    marks = ", ".join("?" * (len(CHAT_COLUMNS) + 1))
    connection.execute(
        f"INSERT INTO chats VALUES ({marks})", (place, *(chat[name] for name in CHAT_COLUMNS))
    )
    marks = ", ".join("?" * (len(MESSAGE_COLUMNS) + 2))
    for number, message in enumerate(messages):
        connection.execute(
            f"INSERT INTO messages VALUES ({marks})",
            (place, number, *(message.get(name) for name in MESSAGE_COLUMNS)),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO pictures VALUES (?, ?)", message.get("pictures", {}).items()
        )


def unstage_chat(connection: sqlite3.Connection, place: int) -> None:
    connection.execute("DELETE FROM chats WHERE place = ?", (place,))
    connection.execute("DELETE FROM messages WHERE chat = ?", (place,))


def stage_about(connection: sqlite3.Connection, text: str) -> None:
    """Stage what the user of the file says of themselves."""
    connection.execute("INSERT INTO about VALUES (?)", (text,))


def stage_folder(
    connection: sqlite3.Connection,
    place: int,
    about: Mapping[str, str],
    documents: Iterable[NewAttachment],
) -> None:
    """Stage a folder: its name, instructions and model, and its documents."""
    connection.execute(
        "INSERT INTO folders VALUES (?, ?)", (place, msgspec.json.encode(about).decode())
    )
    connection.executemany(
        "INSERT INTO documents (folder, file) VALUES (?, ?)",
        ((place, msgspec.json.encode(file).decode()) for file in documents),
    )


def count_left_out(connection: sqlite3.Connection, name: str, reason: str) -> None:
    connection.execute("UPDATE counts SET left_out = left_out + 1")
    connection.execute(
        "INSERT INTO left_out SELECT ?, ? FROM counts WHERE left_out <= ?",
        (name, reason, NAMED_LEFT_OUT),
    )


def count_empty(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE counts SET empty = empty + 1")


class StagedImport:
    """A staging database that has been written. Use `open_staged`."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._left_out = list[tuple[str, str]]()

    async def empty(self) -> int:
        return int((await self._rows("SELECT empty FROM counts"))[0][0])

    async def about(self) -> str:
        """Return what the user of the file says of themselves, if anything."""
        rows = await self._rows("SELECT text FROM about LIMIT 1")
        return str(rows[0]["text"]) if rows else ""

    def note_left_out(self, name: str, reason: str) -> None:
        """Note what was left out since the file was read."""
        self._left_out.append((name, reason))

    async def left_out(self) -> tuple[list[tuple[str, str]], int]:
        """Return names and reasons of the first, and how many there are in all."""
        rows = await self._rows("SELECT name, reason FROM left_out")
        count = await self._rows("SELECT left_out FROM counts")
        named = [(row["name"], row["reason"]) for row in rows] + self._left_out
        return named[:NAMED_LEFT_OUT], int(count[0][0]) + len(self._left_out)

    async def next_chat(self, after: int) -> sqlite3.Row | None:
        """The chat that follows a place, first after -1."""
        rows = await self._rows("SELECT * FROM chats WHERE place > ? ORDER BY place LIMIT 1", after)
        return rows[0] if rows else None

    async def messages(self, chat: int, start: int, rows: int, size: int) -> list[sqlite3.Row]:
        """Return messages from a place on, at most so many, of about `size` characters."""
        sizes = await self._rows(
            "SELECT place, length(text) + coalesce(length(attachments), 0) AS size FROM messages"
            " WHERE chat = ? AND place >= ? ORDER BY place LIMIT ?",
            *(chat, start, rows),
        )
        end = start
        for row in sizes:
            if end > start and size < row["size"]:
                break
            size -= row["size"]
            end = row["place"] + 1
        return await self._rows(
            "SELECT * FROM messages WHERE chat = ? AND place >= ? AND place < ? ORDER BY place",
            *(chat, start, end),
        )

    async def folders(self) -> dict[int, dict[str, str]]:
        """Map the folders' places to their names, instructions and models."""
        rows = await self._rows("SELECT place, about FROM folders ORDER BY place")
        return {
            row["place"]: msgspec.json.decode(row["about"], type=dict[str, str]) for row in rows
        }

    async def next_document(self, folder: int, after: int) -> tuple[int, NewAttachment] | None:
        """The document of a folder that follows another, with its id; the first after 0."""
        rows = await self._rows(
            "SELECT id, file FROM documents WHERE folder = ? AND id > ? ORDER BY id LIMIT 1",
            *(folder, after),
        )
        if not rows:
            return None
        return rows[0]["id"], msgspec.json.decode(rows[0]["file"], type=NewAttachment)

    async def picture(self, digest: str) -> bytes:
        """Return a picture as the file has it."""
        rows = await self._rows("SELECT data FROM pictures WHERE digest = ?", digest)
        return bytes(rows[0]["data"]) if rows else b""

    async def _rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        return list(await self._connection.execute_fetchall(sql, parameters))


@asynccontextmanager
async def open_staged(path: Path) -> AsyncIterator[StagedImport]:
    async with aiosqlite.connect(f"{path.as_uri()}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        yield StagedImport(connection)


async def fate(
    db: Database, user_id: int, chat: sqlite3.Row
) -> Literal["new", "there", "in the trash"]:
    """Tell whether a chat is there already: imported before, or this user's own."""
    rows = await db.fetch_all(
        "SELECT deleted_at FROM chats WHERE user_id = :user AND (id = :id OR import_key = :key)",
        {"user": user_id, "id": chat["id"], "key": chat["import_key"]},  # type: ignore[arg-type]
    )
    if not rows:
        return "new"
    return "in the trash" if all(row["deleted_at"] is not None for row in rows) else "there"


async def add_chat(connection: aiosqlite.Connection, user_id: int, chat: sqlite3.Row) -> str:
    """Add a chat and return its id: another if its own is taken."""
    async with connection.execute("SELECT 1 FROM chats WHERE id = ?", (chat["id"],)) as cursor:
        is_taken = await cursor.fetchone() is not None
    chat_id: str = chat["spare_id"] if is_taken else chat["id"]
    names = (
        *("title", "title_source", "model", "created_at", "updated_at"),
        *("pinned_at", "archived_at", "import_key"),
    )
    await connection.execute(
        f"INSERT INTO chats (id, user_id, {', '.join(names)})"
        f" VALUES ({', '.join('?' * (len(names) + 2))})",
        (chat_id, user_id, *(chat[name] for name in names)),
    )
    if chat["settings"] is not None:
        await chats.put_settings(connection, user_id, chat_id, chat["settings"], chat["updated_at"])
    if chat["folder"] is not None:
        values = msgspec.json.decode(chat["folder"], type=dict[str, str])
        folder = await folders.named(connection, user_id, **values, now=chat["created_at"])
        await folders.move(connection, user_id, chat_id, folder)
    return chat_id


async def add_messages(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    messages: Sequence[sqlite3.Row],
    ids: list[int],
    files: Sequence[Sequence[NewAttachment]],
) -> None:
    """Add messages, each with its `files`. `ids`: of all that stand before these in the file;
    theirs are added."""
    async with connection.execute(f"SELECT {NEXT_ID}") as cursor:
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - this always has a row
    ids.extend(range(row[0], row[0] + len(messages)))
    await connection.executemany(
        f"INSERT INTO messages (id, chat_id, parent_id, is_imported, {', '.join(_COPIED)})"
        f" SELECT ?, id, ?, 1, {', '.join('?' * len(_COPIED))}"
        " FROM chats WHERE id = ? AND user_id = ?",
        [_row(message, ids, chat_id, user_id) for message in messages],
    )
    person = await import_holders.person_of(connection, user_id)
    for message, some in zip(messages, files, strict=True):
        for place, file in enumerate(some):
            at, owner = message["created_at"], ids[message["place"]]
            await attachments.add(connection, person, file, at, owner, place)


def _row(message: sqlite3.Row, ids: Sequence[int], chat_id: str, user_id: int) -> tuple[Any, ...]:
    parent = None if message["parent"] is None else ids[message["parent"]]
    values = (message[name] for name in _COPIED)
    return (ids[message["place"]], parent, *values, chat_id, user_id)
