"""Lists of chats, a page at a time. A page begins after a row, not after a number of rows, so
none is skipped or shown twice however the list changes meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from app.db.chats import Chat, chat_of

if TYPE_CHECKING:
    from app.db.connection import Database

ListName = Literal["listed", "pinned", "archived", "trashed"]
_LISTS: dict[ListName, tuple[str, str]] = {
    "listed": (
        "updated_at",
        "deleted_at IS NULL AND archived_at IS NULL AND pinned_at IS NULL",
    ),
    "pinned": (
        "pinned_at",
        "deleted_at IS NULL AND archived_at IS NULL AND pinned_at IS NOT NULL",
    ),
    "archived": ("archived_at", "deleted_at IS NULL AND archived_at IS NOT NULL"),
    "trashed": ("deleted_at", "deleted_at IS NOT NULL"),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """A row of a list: its time and its id. As text it fits into an address."""

    at: float
    chat_id: str

    def __str__(self) -> str:
        return f"{self.at!r}_{self.chat_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return None for what is no cursor."""
        at, _, chat_id = text.partition("_")
        try:
            time = float(at)
        except ValueError:
            return None
        return cls(time, chat_id) if chat_id and math.isfinite(time) else None


async def page(
    db: Database, user_id: int, name: ListName, limit: int, after: Cursor | None = None
) -> tuple[list[Chat], Cursor | None]:
    """Return at most `limit` chats, newest first, and where to go on, if there is more."""
    column, condition = _LISTS[name]
    values: list[object] = [user_id]
    beyond = ""
    if after is not None:
        beyond = f" AND ({column}, id) < (?, ?)"
        values += [after.at, after.chat_id]
    rows = await db.fetch_all(
        f"SELECT * FROM chats WHERE user_id = ? AND {condition}{beyond}"  # noqa: S608
        f" ORDER BY {column} DESC, id DESC LIMIT ?",
        (*values, limit + 1),
    )
    chats = [chat_of(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return chats, None
    return chats, Cursor(rows[limit - 1][column], chats[-1].id)


async def list_until(db: Database, user_id: int, last: Cursor, limit: int) -> list[Chat]:
    """The listed chats from the newest to `last`, which may have gone from there."""
    _, condition = _LISTS["listed"]
    rows = await db.fetch_all(
        f"SELECT * FROM chats WHERE user_id = ? AND {condition}"  # noqa: S608
        " AND (updated_at, id) >= (?, ?) ORDER BY updated_at DESC, id DESC LIMIT ?",
        (user_id, last.at, last.chat_id, limit),
    )
    return [chat_of(row) for row in rows]


async def newer(db: Database, user_id: int, place: Cursor) -> Chat | None:
    """The listed chat right before a place in the list."""
    _, condition = _LISTS["listed"]
    row = await db.fetch_one(
        f"SELECT * FROM chats WHERE user_id = ? AND {condition}"  # noqa: S608
        " AND (updated_at, id) > (?, ?) ORDER BY updated_at, id LIMIT 1",
        (user_id, place.at, place.chat_id),
    )
    return None if row is None else chat_of(row)


async def get_many(db: Database, user_id: int, chat_ids: set[str]) -> list[Chat]:
    """The chats of these ids, wherever they are."""
    marks = ", ".join("?" * len(chat_ids))
    rows = await db.fetch_all(
        f"SELECT * FROM chats WHERE user_id = ? AND id IN ({marks})",  # noqa: S608
        (user_id, *chat_ids),
    )
    return [chat_of(row) for row in rows]


async def all_ids(db: Database, user_id: int) -> list[str]:
    """Return all chats but those in the trash, oldest first."""
    rows = await db.fetch_all(
        "SELECT id FROM chats WHERE user_id = ? AND deleted_at IS NULL ORDER BY created_at, id",
        (user_id,),
    )
    return [row["id"] for row in rows]
