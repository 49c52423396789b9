from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from app.db import chats, import_holders, messages, unfinished
from app.db import connection as db_module
from app.db.connection import Database, open_database
from app.db.unfinished import INTERRUPTED_REASON
from app.errors import DiskFull, SearchTooLong, StoreError

CHAT = "0123456789abcdef"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        yield database


async def add_question(connection: aiosqlite.Connection, text: str, client_id: str) -> int:
    await chats.create(connection, CHAT, 1, "Foxes", "tiny", 1.0)
    question = await messages.add_user(connection, 1, CHAT, None, text, client_id, 1.0)
    answer = await messages.add_answer(connection, 1, CHAT, question, "tiny", 1.0)
    await chats.advance(connection, 1, CHAT, answer, "tiny", 2.0)
    return answer


async def listed(db: Database) -> list[chats.Chat]:
    return (await chats.page(db, 1, "listed", 10))[0]


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    async def fail(connection: aiosqlite.Connection) -> None:
        await add_question(connection, "hello", "c1")
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        await db.write(fail)
    assert await listed(db) == []
    await db.write(lambda c: add_question(c, "hello", "c1"))
    assert [c.title for c in await listed(db)] == ["Foxes"]


async def test_a_write_that_cannot_be_undone_at_once_stops_no_later_one(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(connection: aiosqlite.Connection) -> None:
        await add_question(connection, "hello", "c1")
        raise RuntimeError("on purpose")

    async def refuse() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(db._writer, "rollback", refuse)
        with pytest.raises(RuntimeError):
            await db.write(fail)
    with pytest.raises(StoreError, match="within a transaction"):  # it is undone now
        await db.write(lambda c: add_question(c, "hello", "c1"))
    assert await listed(db) == []
    await db.write(lambda c: add_question(c, "hello", "c1"))
    assert [c.title for c in await listed(db)] == ["Foxes"]


async def test_a_cancelled_caller_does_not_stop_its_write(db: Database) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(connection: aiosqlite.Connection) -> None:
        entered.set()
        await leave.wait()
        await add_question(connection, "hello", "c1")

    caller = asyncio.create_task(db.write(slow))
    await entered.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    leave.set()
    assert await db.write(lambda c: chats.rename(c, 1, CHAT, "Still there"))


async def test_a_full_disk_gives_a_sentence_and_keeps_the_rows(db: Database) -> None:
    answer = await db.write(lambda c: add_question(c, "hello", "c1"))

    async def fill(connection: aiosqlite.Connection) -> None:
        await connection.execute("PRAGMA max_page_count = 1")
        await messages.checkpoint(connection, 1, answer, "x" * 1_000_000, 3.0)

    with pytest.raises(DiskFull, match="no room left"):
        await db.write(fill)

    async def make_room(connection: aiosqlite.Connection) -> None:
        await connection.execute("PRAGMA max_page_count = 1000000")
        await messages.checkpoint(connection, 1, answer, "partial", 3.0)

    await db.write(make_room)
    assert await db.write(lambda c: unfinished.interrupt_begun(c, 4.0)) == 1


async def test_a_submission_with_the_same_client_id_is_saved_once(db: Database) -> None:
    await db.write(lambda c: add_question(c, "hello", "c1"))
    assert await messages.find_submission(db, 1, CHAT, "c1")
    with pytest.raises(StoreError):
        await db.write(lambda c: add_question(c, "again", "c1"))


async def test_recovery_keeps_the_checkpointed_text(db: Database) -> None:
    answer = await db.write(lambda c: add_question(c, "hello", "c1"))
    await db.write(lambda c: messages.checkpoint(c, 1, answer, "Once upon", 2.0))
    await db.write(lambda c: unfinished.interrupt_begun(c, 3.0))
    saved = (await messages.load_path(db, 1, CHAT, answer))[-1]
    assert (saved.status, saved.text, saved.error) == (
        "interrupted",
        "Once upon",
        INTERRUPTED_REASON,
    )
    assert await db.fetch_all("SELECT * FROM checkpoints") == []


async def test_an_answer_ends_once(db: Database) -> None:
    answer = await db.write(lambda c: add_question(c, "hello", "c1"))
    await db.write(lambda c: messages.finish(c, 1, answer, "stopped", "one", 2.0))
    await db.write(lambda c: messages.finish(c, 1, answer, "done", "two", 3.0))
    saved = (await messages.load_path(db, 1, CHAT, answer))[-1]
    assert (saved.status, saved.text) == ("stopped", "one")


async def test_path_follows_parents_not_ids(db: Database) -> None:
    async def branch(connection: aiosqlite.Connection) -> tuple[int, int]:
        first = await add_question(connection, "one", "c1")
        left = await messages.add_user(connection, 1, CHAT, first, "left", "c2", 3.0)
        right = await messages.add_user(connection, 1, CHAT, first, "right", "c3", 3.0)
        return left, right

    left, right = await db.write(branch)
    assert [m.text for m in await messages.load_path(db, 1, CHAT, left)] == ["one", "", "left"]
    assert [m.text for m in await messages.load_path(db, 1, CHAT, right)] == ["one", "", "right"]
    assert await messages.load_path(db, 1, CHAT, None) == []


async def test_a_chat_belongs_to_one_user(db: Database) -> None:
    await db.write(lambda c: add_question(c, "hello", "c1"))
    assert await chats.get(db, 2, CHAT) is None
    assert not await db.write(lambda c: chats.rename(c, 2, CHAT, "mine"))
    assert not await db.write(lambda c: chats.set_timestamp(c, 2, CHAT, "deleted_at", 1.0))


async def test_emptying_the_trash_removes_chats_with_their_messages(db: Database) -> None:
    await db.write(lambda c: add_question(c, "hello", "c1"))
    await db.write(lambda c: chats.set_timestamp(c, 1, CHAT, "deleted_at", 5.0))
    assert await listed(db) == []
    assert await chats.expired(db, 5.0) == []
    assert await chats.expired(db, 6.0) == [(1, CHAT)]
    assert await db.write(lambda c: import_holders.take_over(c, 2, CHAT)) is None
    holder = await db.write(lambda c: import_holders.take_over(c, 1, CHAT))
    assert await chats.get(db, 1, CHAT) is None
    assert holder is not None
    await import_holders.erase(db, holder)
    for table in ("messages", "chats", "users WHERE id != 1"):
        assert await db.fetch_all(f"SELECT * FROM {table}") == []  # noqa: S608


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wick.db"
    path.write_bytes(b"not a database at all, " * 200)
    with pytest.raises(StoreError, match="is no database"):
        async with open_database(path):
            pass


async def test_database_file_is_private(tmp_path: Path) -> None:
    async with open_database(tmp_path / "new" / "wick.db"):
        assert (tmp_path / "new" / "wick.db").stat().st_mode & 0o077 == 0
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0


async def test_a_search_that_takes_too_long_is_given_up_and_delays_nobody(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_module, "SEARCH_SECONDS", 0.05)
    endless = (
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    )
    searching = asyncio.create_task(db.search(endless, {}))
    assert await db.fetch_one("SELECT 1")
    with pytest.raises(SearchTooLong, match="took too long"):
        await searching
    monkeypatch.setattr(db_module, "SEARCH_SECONDS", 30.0)
    assert [tuple(row) for row in await db.search("SELECT :x", {"x": 7})] == [(7,)]
    with pytest.raises(StoreError, match="could not do this"):
        await db.search("SELECT nonsense", {})
