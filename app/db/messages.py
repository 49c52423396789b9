"""The table of messages (a tree in each chat), its columns, and the checkpoints of running answers.

Every statement names the user whose chat it is, so nobody reaches another's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import aiosqlite

from app.db import attachments
from app.db.attachments import Attachment
from app.errors import ChatNotFound

if TYPE_CHECKING:
    from app.db.connection import Database

MAX_COUNT: Final = 10**9
MAX_SECONDS: Final = 10**8
MAX_TEXT_CHARS: Final = 2_000_000
MAX_SOURCES_CHARS: Final = 200_000
MAX_DOCUMENTS_CHARS: Final = 100_000
Status = Literal["queued", "done", "stopped", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class MessageColumn:
    """A column of a message. is_result: saved when a run of the model ends, and says how it went;
    in_api: objects for programs have it; in_files: exports and imports have it."""

    kind: type[int] | type[float] | type[str] = str
    """Type of a result."""
    is_result: bool = False
    in_api: bool = True
    in_files: bool = True
    maximum: int = MAX_TEXT_CHARS
    """The largest number, or the most characters, that an import takes over."""
    choices: tuple[str, ...] = ()
    """The only texts that an import takes over; empty for any."""


def _column(
    *, in_api: bool = True, in_files: bool = True, is_result: bool = False, **more: Any
) -> Any:
    """A field of a message that the code saves and reads by name."""
    column = MessageColumn(is_result=is_result, in_api=in_api, in_files=in_files)
    return field(metadata={"column": column}, **more)


def _count_result(maximum: int = MAX_COUNT) -> Any:
    """A whole number that a run of the model ends with."""
    return _result(int, maximum=maximum)


def _seconds_result(maximum: int = MAX_SECONDS) -> Any:
    """A time in seconds that a run of the model ends with."""
    return _result(float, maximum=maximum)


def _text_result(*choices: str, maximum: int = MAX_TEXT_CHARS) -> Any:
    """A text that a run of the model ends with."""
    return _result(str, maximum=maximum, choices=choices)


def _local_count_result() -> Any:
    """A whole number that a run ends with and that means nothing elsewhere."""
    row = MessageColumn(int, is_result=True, in_files=False)
    return field(default=0, metadata={"column": row})


def _columns_of(record: type[Any]) -> Mapping[str, MessageColumn]:
    """Map names to columns. A field without metadata is on every surface; one whose column is None
    has tables of its own."""
    found = {one.name: one.metadata.get("column", MessageColumn()) for one in fields(record)}
    return {name: column for name, column in found.items() if column is not None}


def _result(kind: type[int] | type[float] | type[str], **more: Any) -> Any:
    row = MessageColumn(kind, is_result=True, **more)
    return field(default=None, metadata={"column": row})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat. `status` is `queued` from its submission to its end, whatever happens.

    settings: with what an answer is made, as JSON; dropped: how many of the oldest turns the model
    did not see; documents: those that it was given whole, as JSON; context_length: tokens its
    window could hold; thought: what the model reasoned before it, for `thought_seconds`; sources:
    the passages that it was given of files that did not fit, as JSON; calls: tools that it called,
    as JSON (`app/conversations/tool_calls.py`); attachments: files that came with it.

    A new column is one line here and a migration: the API, exports and imports follow.
    """

    id: int
    chat_id: str = _column(in_files=False)
    parent_id: int | None = _column(in_files=False)
    role: Literal["user", "assistant"]
    text: str
    status: Status
    client_id: str | None = _column(in_api=False, in_files=False)
    model: str | None
    error: str | None
    finish_reason: str | None = _text_result("stop", "length")
    prompt_tokens: int | None = _count_result()
    cached_tokens: int | None = _count_result()
    completion_tokens: int | None = _count_result()
    prefill_seconds: float | None = _seconds_result()
    decode_seconds: float | None = _seconds_result()
    first_token_seconds: float | None = _seconds_result()
    dropped: int = _local_count_result()
    documents: str | None = _text_result(maximum=MAX_DOCUMENTS_CHARS)
    created_at: float
    finished_at: float | None
    settings: str | None = _column(in_api=False, default=None)
    context_length: int | None = _count_result()
    is_imported: int = _column(in_api=False, in_files=False, default=0)
    thought: str | None = _text_result()
    thought_seconds: float | None = _seconds_result()
    sources: str | None = _result(str, in_api=False, maximum=MAX_SOURCES_CHARS)
    calls: str | None = _column(in_api=False, is_result=True, default=None)
    attachments: tuple[Attachment, ...] = field(default=(), metadata={"column": None})

    @property
    def is_said(self) -> bool:
        """Tell whether there is anything in it for a model to read."""
        return bool(self.text or self.attachments or self.calls)


COLUMNS: Final = _columns_of(Message)
FILE_COLUMNS: Final = tuple(name for name, row in COLUMNS.items() if row.in_files)
"""Columns that exports have, and imports bring."""


def message_of(row: sqlite3.Row) -> Message:
    """The message of a whole row."""
    return Message(**{key: row[key] for key in row.keys()})  # noqa: SIM118 - a Row iterates its values


OWNED = (
    "EXISTS (SELECT 1 FROM chats WHERE chats.id = messages.chat_id AND chats.user_id = :user)"
    " AND NOT EXISTS (SELECT 1 FROM hidden_messages WHERE message_id = messages.id)"
)
"""Condition of a row of messages: it is in a chat of this user, and was not deleted."""
VISIBLE = "NOT EXISTS (SELECT 1 FROM hidden_messages WHERE message_id = m.id)"
"""Condition of a message `m`: it was not deleted."""

_PATH = f"""
WITH RECURSIVE path (id, depth) AS (
    SELECT :leaf, 0
    UNION ALL
    SELECT m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.id
    WHERE m.parent_id IS NOT NULL
)
SELECT m.* FROM path JOIN messages m ON m.id = path.id JOIN chats c ON c.id = m.chat_id
WHERE c.id = :chat AND c.user_id = :user AND {VISIBLE} ORDER BY path.depth DESC
"""  # noqa: S608


async def load_path(db: Database, user_id: int, chat_id: str, leaf_id: int | None) -> list[Message]:
    """The messages from the first one down to `leaf_id`."""
    values = {"leaf": leaf_id, "chat": chat_id, "user": user_id}
    rows = await db.fetch_all(_PATH, values)  # type: ignore[arg-type]
    return await with_attachments(db, user_id, [message_of(row) for row in rows])


async def with_attachments(db: Database, user_id: int, found: Sequence[Message]) -> list[Message]:
    """These messages with the files that they have."""
    asked = [message.id for message in found if message.role == "user"]
    files = await attachments.by_message(db, user_id, asked) if asked else {}
    return [replace(one, attachments=files[one.id]) if one.id in files else one for one in found]


async def recent_tokens_per_second(db: Database, model: str) -> float | None:
    """Tokens a second that each of the latest answers of this model came with, all together.

    Of answers that were made here: what an import says of its own is no measurement."""
    row = await db.fetch_one(
        "SELECT sum(completion_tokens) / sum(decode_seconds) AS speed FROM"
        " (SELECT completion_tokens, decode_seconds FROM messages"
        " WHERE model = ? AND decode_seconds > 0 AND is_imported = 0 ORDER BY id DESC LIMIT 5)",
        (model,),
    )
    return None if row is None else row["speed"]


# No id of a deleted message comes again while that can be undone: its row is still there.
NEXT_ID = "(SELECT coalesce(max(id), 0) + 1 FROM messages)"
_ADD_USER = f"""
INSERT INTO messages (id, chat_id, parent_id, role, text, status, client_id, created_at)
SELECT {NEXT_ID}, id, :parent, 'user', :text, 'done', :client, :now FROM chats
WHERE id = :chat AND user_id = :user
"""  # noqa: S608
_ADD_ANSWER = f"""
INSERT INTO messages
    (id, chat_id, parent_id, role, text, status, model, created_at, settings, client_id)
SELECT {NEXT_ID}, id, :parent, 'assistant', '', 'queued', :model, :now, :settings, :client
FROM chats WHERE id = :chat AND user_id = :user
"""  # noqa: S608
# The id of a submission stands in its prompt, or in its answer when it brought no prompt.
_BY_CLIENT_ID = f"""
SELECT CASE m.role WHEN 'user' THEN m.id ELSE m.parent_id END AS prompt_id,
    CASE m.role WHEN 'assistant' THEN m.id ELSE (
        SELECT a.id FROM messages a WHERE a.parent_id = m.id
        ORDER BY {VISIBLE.replace("m.id", "a.id")} DESC, a.id LIMIT 1
    ) END AS answer_id
FROM messages m JOIN chats c ON c.id = m.chat_id
WHERE c.id = ? AND c.user_id = ? AND m.client_id = ?
"""  # noqa: S608


class SubmissionRow(NamedTuple):
    """A submission and its answer. answer_id: None once all its answers are deleted for good."""

    prompt_id: int | None
    answer_id: int | None


async def find_submission(
    db: Database, user_id: int, chat_id: str, client_id: str
) -> SubmissionRow | None:
    """Return what this submission has become; None when it was not saved before."""
    row = await db.fetch_one(_BY_CLIENT_ID, (chat_id, user_id, client_id))
    return None if row is None else SubmissionRow(*row)


async def get_submission(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, client_id: str
) -> SubmissionRow | None:
    """Find a submission within a transaction, where no other can come in between."""
    async with connection.execute(_BY_CLIENT_ID, (chat_id, user_id, client_id)) as cursor:
        row = await cursor.fetchone()
    return None if row is None else SubmissionRow(*row)


async def add_user(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    parent_id: int | None,
    text: str,
    client_id: str,
    now: float,
) -> int:
    """Add a prompt and return its id. Raises ChatNotFound."""
    values = {"user": user_id, "chat": chat_id, "parent": parent_id, "text": text}
    cursor = await connection.execute(_ADD_USER, values | {"client": client_id, "now": now})
    return _new_id(cursor)


async def add_answer(
    connection: aiosqlite.Connection,
    user_id: int,
    chat_id: str,
    parent_id: int,
    model: str,
    now: float,
    settings: str | None = None,
    client_id: str | None = None,
) -> int:
    """Add an empty, queued answer and return its id. client_id: of a request without a prompt.

    Raises ChatNotFound.
    """
    values = {"user": user_id, "chat": chat_id, "parent": parent_id, "model": model, "now": now}
    cursor = await connection.execute(
        _ADD_ANSWER, values | {"settings": settings, "client": client_id}
    )
    return _new_id(cursor)


async def requeue(
    connection: aiosqlite.Connection, user_id: int, answer_id: int, text: str, settings: str
) -> None:
    """Queue an answer again that was cut at `text`: it keeps that and goes on."""
    await connection.execute(
        "UPDATE messages SET status = 'queued', text = :text, settings = :settings, error = NULL,"  # noqa: S608
        f" finish_reason = NULL, finished_at = NULL WHERE id = :id AND {OWNED}",
        {"text": text, "settings": settings, "id": answer_id, "user": user_id},
    )


async def set_sources(
    connection: aiosqlite.Connection, user_id: int, answer_id: int, sources: str | None
) -> None:
    """Keep which passages a queued answer is given."""
    await connection.execute(
        f"UPDATE messages SET sources = :sources WHERE id = :id AND status = 'queued' AND {OWNED}",  # noqa: S608
        {"sources": sources, "id": answer_id, "user": user_id},
    )


def _new_id(cursor: aiosqlite.Cursor) -> int:
    if cursor.rowcount < 1 or cursor.lastrowid is None:
        raise ChatNotFound
    return cursor.lastrowid


async def withdraw(
    connection: aiosqlite.Connection, user_id: int, answer_id: int
) -> tuple[str, int | None]:
    """Remove a queued answer with its question; what follows it then follows what was before.
    The question's files are unsent again.

    Return the question's text, and the id of the message before it. Raises ChatNotFound.
    """
    async with connection.execute(
        "SELECT q.id, q.text, q.parent_id FROM messages a JOIN messages q ON q.id = a.parent_id"
        " JOIN chats c ON c.id = q.chat_id WHERE a.id = ? AND c.user_id = ?",
        (answer_id, user_id),
    ) as cursor:
        row = await cursor.fetchone()
    if row is None:
        raise ChatNotFound("There is no such message.")
    values = {"answer": answer_id, "before": row["parent_id"], "id": row["id"], "user": user_id}
    await attachments.detach(connection, user_id, row["id"])
    await connection.execute(
        f"UPDATE messages SET parent_id = :before WHERE parent_id = :answer AND {OWNED}",  # noqa: S608
        values,
    )
    await connection.execute(f"DELETE FROM messages WHERE id = :id AND {OWNED}", values)  # noqa: S608
    return row["text"], row["parent_id"]


async def checkpoint(
    connection: aiosqlite.Connection,
    user_id: int,
    message_id: int,
    text: str,
    now: float,
    thought: str | None = None,
) -> None:
    """Save the text so far of an answer that runs, and of the thought before it."""
    await connection.execute(
        "INSERT INTO checkpoints (message_id, text, thought, saved_at)"  # noqa: S608
        f" SELECT id, :text, :thought, :now FROM messages WHERE id = :id AND {OWNED}"
        " ON CONFLICT (message_id) DO UPDATE SET text = excluded.text,"
        " thought = excluded.thought, saved_at = excluded.saved_at",
        {"text": text, "thought": thought, "now": now, "id": message_id, "user": user_id},
    )


async def pause(
    connection: aiosqlite.Connection,
    user_id: int,
    message_id: int,
    text: str,
    thought: str | None,
    calls: str | None,
    counts: Mapping[str, str | int | float | None],
) -> None:
    """Save how an answer stands that waits for its tools: queued with all it has, as one that
    goes on after a cut. So nothing of it is lost, whenever Wick ends."""
    given = {k: v for k, v in counts.items() if k in COLUMNS and COLUMNS[k].is_result}
    given |= {"thought": thought, "calls": calls}
    assignments = "".join(f", {name} = :{name}" for name in given)
    await connection.execute(
        f"UPDATE messages SET text = :text{assignments}"  # noqa: S608
        f" WHERE id = :id AND status = 'queued' AND {OWNED}",
        {"text": text, "id": message_id, "user": user_id, **given},
    )
    await connection.execute(
        "DELETE FROM checkpoints WHERE message_id ="  # noqa: S608
        f" (SELECT id FROM messages WHERE id = :id AND {OWNED})",
        {"id": message_id, "user": user_id},
    )


async def finish(
    connection: aiosqlite.Connection,
    user_id: int,
    message_id: int,
    status: Status,
    text: str,
    now: float,
    *,
    error: str | None = None,
    counts: Mapping[str, str | int | float | None] | None = None,
) -> None:
    """End an answer and drop its checkpoint; one that has ended already is left as it is."""
    given = {
        name: value
        for name, value in (counts or {}).items()
        if name in COLUMNS and COLUMNS[name].is_result
    }
    assignments = "".join(f", {name} = :{name}" for name in given)
    await connection.execute(
        f"UPDATE messages SET status = :status, text = :text, error = :error,"  # noqa: S608
        f" finished_at = :now{assignments} WHERE id = :id AND status = 'queued' AND {OWNED}",
        {
            **{"status": status, "text": text, "error": error, "now": now},
            **{"id": message_id, "user": user_id},
            **given,
        },
    )
    for table in ("checkpoints", "requeued"):
        await connection.execute(
            f"DELETE FROM {table} WHERE message_id ="  # noqa: S608
            f" (SELECT id FROM messages WHERE id = :id AND {OWNED})",
            {"id": message_id, "user": user_id},
        )
