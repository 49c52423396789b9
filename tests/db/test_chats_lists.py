from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from app.db import chats
from app.db.chats import Cursor
from app.db.connection import Database, open_database


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """Fifty chats, ten for each second, so that many share their time."""

    async def fill(connection: aiosqlite.Connection) -> None:
        for number in range(50):
            await chats.create(connection, f"{number:016x}", 1, f"c{number}", "m", number // 10)

    async with open_database(tmp_path / "wick.db") as database:
        await database.write(fill)
        yield database


async def test_pages_of_chats_follow_each_other_without_gap_or_double(db: Database) -> None:
    seen: list[str] = []
    after: Cursor | None = None
    while True:
        page, after = await chats.page(db, 1, "listed", 7, after)
        seen += [chat.id for chat in page]
        if after is None:
            break
        after = Cursor.parse(str(after))
    assert seen == [f"{number:016x}" for number in reversed(range(50))]


async def test_a_page_of_chats_does_not_shift_when_the_list_changes_before_it(db: Database) -> None:
    _, after = await chats.page(db, 1, "listed", 7)
    await db.write(lambda c: chats.create(c, "f" * 16, 1, "new", "m", 99))
    await db.write(lambda c: chats.set_timestamp(c, 1, f"{49:016x}", "deleted_at", 1.0))
    page, _ = await chats.page(db, 1, "listed", 7, after)
    assert page[0].id == f"{42:016x}"
    assert after is not None
    beginning = await chats.list_until(db, 1, after, 100)
    assert [chat.title for chat in beginning] == ["new", *(f"c{n}" for n in range(48, 42, -1))]


async def test_each_chat_is_in_one_list(db: Database) -> None:
    pinned, archived, trashed = (f"{number:016x}" for number in range(3))

    async def put_away(connection: aiosqlite.Connection) -> None:
        for chat_id in (pinned, archived, trashed):
            await chats.set_timestamp(connection, 1, chat_id, "pinned_at", 1.0)
        for chat_id in (archived, trashed):
            await chats.set_timestamp(connection, 1, chat_id, "archived_at", 1.0)
        await chats.set_timestamp(connection, 1, trashed, "deleted_at", 1.0)

    await db.write(put_away)
    for name, ids in (("pinned", [pinned]), ("archived", [archived]), ("trashed", [trashed])):
        assert [c.id for c in (await chats.page(db, 1, name, 9))[0]] == ids  # type: ignore[arg-type]
        assert (await chats.page(db, 2, name, 9))[0] == []  # type: ignore[arg-type]
    assert len((await chats.page(db, 1, "listed", 99))[0]) == 47


@pytest.mark.parametrize("text", ["", "x", "1.0", "nan_x", "inf_x", "_x", "1.0_"])
def test_text_that_is_no_cursor_gives_none(text: str) -> None:
    assert Cursor.parse(text) is None
