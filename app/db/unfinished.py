"""Answers that were unfinished when Wick ended: those that had begun, and those that had not.

An answer has begun when it has a checkpoint, be it an empty one. This is upkeep of the whole
server at its start and stop, so it concerns everybody's rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiosqlite

from app.db.messages import Message

if TYPE_CHECKING:
    from app.db.connection import Database

MAX_RESTARTS: Final = 3
"""How often in a row Wick may die before an answer that it owes has begun."""

_END = """
UPDATE messages SET status = 'interrupted', error = :reason, finished_at = :now,
    text = coalesce((SELECT c.text FROM checkpoints c WHERE c.message_id = messages.id), text),
    thought = coalesce(
        (SELECT c.thought FROM checkpoints c WHERE c.message_id = messages.id), thought
    )
WHERE status = 'queued'
"""
_HAS_BEGUN = " AND id IN (SELECT message_id FROM checkpoints)"
_IS_ASKING = "instr(coalesce(calls, ''), '\"status\":\"asking\"')"
"""Condition: the answer waits for its user to allow a call. Of that Wick does not die."""
_HAS_DIED = " AND id IN (SELECT message_id FROM requeued WHERE times >= :most)"
_IS_HOPELESS = f"{_HAS_DIED} AND NOT {_IS_ASKING}"
_IS_UNWANTED = """
AND chat_id IN (SELECT c.id FROM chats c JOIN users u ON u.id = c.user_id
    WHERE c.deleted_at IS NOT NULL OR u.holds_for IS NOT NULL)
"""
_COUNT = f"""
INSERT INTO requeued (message_id, times)
SELECT min(id), 1 FROM messages WHERE status = 'queued' AND NOT {_IS_ASKING} GROUP BY chat_id
ON CONFLICT (message_id) DO UPDATE SET times = times + 1
"""  # noqa: S608
_QUEUED = """
SELECT m.*, c.user_id FROM messages m JOIN chats c ON c.id = m.chat_id
WHERE m.status = 'queued' ORDER BY m.id
"""
INTERRUPTED_REASON: Final = "Wick ended before all of this was saved. Its end may be missing."
UNANSWERED_REASON: Final = "Wick ended several times before it could begin. Please ask again."


class PendingAnswer(NamedTuple):
    """An answer that is still to be made."""

    user_id: int
    message: Message


async def interrupt_begun(connection: aiosqlite.Connection, now: float) -> int:
    """End, at start, what was being written, with the text its checkpoint kept, and what nobody
    wants or Wick cannot answer. The rest is to be queued again, and counted where it comes first
    in its chat. How many have ended."""
    count = 0
    for condition, reason in (
        (_HAS_BEGUN, INTERRUPTED_REASON),
        (_IS_HOPELESS, UNANSWERED_REASON),
        (_IS_UNWANTED, INTERRUPTED_REASON),
    ):
        values = {"reason": reason, "now": now, "most": MAX_RESTARTS}
        count += (await connection.execute(_END + condition, values)).rowcount
    await connection.execute("DELETE FROM checkpoints")
    await connection.execute(
        "DELETE FROM requeued WHERE message_id NOT IN"
        " (SELECT id FROM messages WHERE status = 'queued')"
    )
    await connection.execute(_COUNT)
    return count


async def reset_restart_counts(connection: aiosqlite.Connection) -> None:
    """Reset at an orderly stop: Wick did not die of what waits."""
    await connection.execute("DELETE FROM requeued")


async def list_queued(db: Database) -> list[PendingAnswer]:
    """List queued answers in the order of their prompts."""
    rows = await db.fetch_all(_QUEUED)
    return [_to_pending(dict(row)) for row in rows]


def _to_pending(row: dict[str, Any]) -> PendingAnswer:
    return PendingAnswer(row.pop("user_id"), Message(**row))
