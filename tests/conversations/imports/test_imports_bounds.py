"""However much comes or goes, it takes bounded steps, and comes whole or not at all."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiosqlite
import pytest

from app.background import BackgroundTasks
from app.conversations.answer_state import MessageRef
from app.conversations.branches import Branches
from app.conversations.exports import Exports
from app.conversations.hub import Hub
from app.conversations.imports.imports import Imports
from app.conversations.imports.reader import ReadingLimits
from app.db import branches, chats, import_holders, imports, messages
from app.db.connection import Database, WriteFn, open_database
from app.errors import DiskFull, InvalidMessage
from tests.foreign_files import chatgpt

COUNT, STEP = 400, 20


@pytest.fixture
async def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(import_holders, "STEP_ROWS", STEP)
    monkeypatch.setattr(import_holders, "STEP_CHATS", STEP)
    async with open_database(tmp_path / "wick.db") as database:
        yield database


@pytest.fixture
def units(db: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each unit of work of the writer has changed, those of the index included."""
    sizes = list[int]()
    hand_over = db._enqueue

    async def measured(work: WriteFn[Any], *, is_transaction: bool) -> Any:
        async def probe(connection: aiosqlite.Connection) -> Any:
            before = connection.total_changes
            result = await work(connection)
            sizes.append(connection.total_changes - before)
            return result

        return await hand_over(probe, is_transaction=is_transaction)

    monkeypatch.setattr(db, "_enqueue", measured)
    return sizes


def packed(content: Any) -> io.BytesIO:
    return io.BytesIO(json.dumps(content).encode())


def many(count: int = COUNT) -> dict[str, Any]:
    said = [
        {"id": n, "parent": n - 1 if n else None, "role": ("user", "assistant")[n % 2], "text": "x"}
        for n in range(count)
    ]
    one = {"id": "0123456789abcdef", "title": "Long", "messages": said}
    small = [
        {"id": f"{n:016x}", "title": "Short", "messages": said[:1], "settings": {"seed": 1}}
        for n in range(count // 4)
    ]
    return {"format": "wick-chats", "version": 1, "chats": [one, *small]}


async def rows_left(db: Database) -> list[Any]:
    return [
        row
        for table in ("chats", "messages", "chat_settings", "users WHERE id != 1")
        for row in await db.fetch_all(f"SELECT * FROM {table}")  # noqa: S608
    ]


async def test_no_transaction_grows_with_the_size_of_an_import_or_deletion(
    db: Database, units: list[int]
) -> None:
    report = await Imports(db, Hub()).import_file(1, packed(many()))
    assert report.added == COUNT // 4 + 1
    for chat_id in await chats.list_ids(db, 1):
        await db.write(lambda c, i=chat_id: chats.set_timestamp(c, 1, i, "deleted_at", 1.0))  # type: ignore[misc]
    holder = await db.write(lambda c: import_holders.take_over(c, 1, "0123456789abcdef"))
    assert holder is not None
    await import_holders.erase(db, holder)
    await import_holders.erase(db, 1)
    await db.purge_deleted_text()
    assert await rows_left(db) == []
    assert sum(units) > 4 * COUNT
    assert max(units) <= 12 * STEP


async def test_no_transaction_grows_with_the_size_of_a_branch(
    db: Database, units: list[int]
) -> None:
    await Imports(db, Hub()).import_file(1, packed(many()))
    tasks = BackgroundTasks()
    verbs = Branches(db, Hub(), SimpleNamespace(tasks=tasks))  # type: ignore[arg-type]
    chat_id = "0123456789abcdef"
    chat = await chats.get(db, 1, chat_id)
    assert chat is not None
    path = [message.id for message in await messages.load_path(db, 1, chat_id, chat.leaf_id)]
    units.clear()
    await verbs.remove(MessageRef(1, chat_id, path[-3]))
    await verbs.remove(MessageRef(1, chat_id, path[0]))
    assert await messages.load_path(db, 1, chat_id, chat.leaf_id) == []
    assert [page async for page in branches.pages(db, 1, chat_id)] == []
    await verbs.restore(MessageRef(1, chat_id, path[0]))
    await verbs.restore(MessageRef(1, chat_id, path[-3]))
    back = await chats.get(db, 1, chat_id)
    assert back == chat
    assert [m.id for m in await messages.load_path(db, 1, chat_id, chat.leaf_id)] == path
    assert await db.fetch_all("SELECT * FROM removed_messages") == []
    await verbs.remove(MessageRef(1, chat_id, path[-3]))
    await verbs.remove(MessageRef(1, chat_id, path[0]))
    await branches.purge_removals(db, time.time() + 1)
    for table in (f"messages WHERE chat_id = '{chat_id}'", "removed_messages", "removals"):
        assert await db.fetch_all(f"SELECT * FROM {table}") == []  # noqa: S608
    assert sum(units) > 4 * COUNT
    assert max(units) <= 12 * STEP


@pytest.mark.parametrize("verb", ["remove", "restore"])
async def test_a_crash_while_a_branch_is_deleted_leaves_all_or_nothing(
    db: Database, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    await Imports(db, Hub()).import_file(1, packed(many()))
    verbs = Branches(db, Hub(), SimpleNamespace(tasks=BackgroundTasks()))  # type: ignore[arg-type]
    chat_id = "0123456789abcdef"
    chat = await chats.get(db, 1, chat_id)
    assert chat is not None
    path = [message.id for message in await messages.load_path(db, 1, chat_id, chat.leaf_id)]
    if verb == "restore":
        await verbs.remove(MessageRef(1, chat_id, path[0]))

    async def crash(*given: Any) -> None:
        raise RuntimeError("on purpose")

    with monkeypatch.context() as crashed:
        crashed.setattr(branches, "clear_removal", crash)
        crashed.setattr(branches, "hide_branch", crash)
        with pytest.raises(RuntimeError):
            await getattr(verbs, verb)(MessageRef(1, chat_id, path[0]))
    assert len(await db.fetch_all("SELECT * FROM removed_messages")) == COUNT
    assert [m.id for m in await messages.load_path(db, 1, chat_id, chat.leaf_id)] == path
    await branches.clear_unused_removals(db)
    assert await db.fetch_all("SELECT * FROM removed_messages") == []


async def test_messages_written_below_a_branch_while_it_is_deleted_go_with_it(db: Database) -> None:
    await Imports(db, Hub()).import_file(1, packed(many(4)))
    chat_id = "0123456789abcdef"
    chat = await chats.get(db, 1, chat_id)
    assert chat is not None
    top = (await messages.load_path(db, 1, chat_id, chat.leaf_id))[0].id
    await branches.prepare_removal(db, 1, chat_id, top)
    late = await db.write(
        lambda c: messages.add_user(c, 1, chat_id, chat.leaf_id, "late", "client50", 9.0)
    )
    await db.write(lambda c: branches.hide_branch(c, 1, chat_id, top, late, 9.0))
    assert await messages.load_path(db, 1, chat_id, late) == []
    assert await db.write(lambda c: branches.restore_branch(c, 1, chat_id, top)) == late
    assert len(await messages.load_path(db, 1, chat_id, late)) == 5


async def test_a_transaction_of_an_import_is_bounded_in_characters_too(
    db: Database, units: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_holders, "STEP_CHARS", 3)
    await Imports(db, Hub()).import_file(1, packed(many(20)))
    assert max(units) <= 12 * 5


async def test_an_export_is_read_a_few_messages_at_a_time(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Imports(db, Hub()).import_file(1, packed(many()))
    monkeypatch.setattr(branches, "PAGE_ROWS", STEP)
    chat = await chats.get(db, 1, "0123456789abcdef")
    assert chat is not None
    found = [page async for page in branches.pages(db, 1, chat.id)]
    assert {len(page) for page in found} == {STEP}
    shown = [page async for page in branches.path_pages(db, 1, chat.id, chat.leaf_id)]
    assert shown == found
    pieces = [piece async for piece in Exports(db).json(chat)]
    assert max(len(piece) for piece in pieces) < 500
    assert len(json.loads(b"".join(pieces))["chats"][0]["messages"]) == COUNT


class Cut(Imports):
    """Breaks off after a few messages, as often as it is asked to."""

    async def _fill_chat(self, *given: Any) -> None:
        await super()._fill_chat(*given)
        self.reached.set()
        await asyncio.Event().wait()

    reached: asyncio.Event


async def cut_import(db: Database) -> Cut:
    here = Cut(db, Hub())
    here.reached = asyncio.Event()
    taking = asyncio.create_task(here.import_file(1, packed(many())))
    await here.reached.wait()
    assert await chats.list_ids(db, 1) == []  # nobody sees a part of it
    assert len(await db.fetch_all("SELECT id FROM messages")) == COUNT
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    return here


async def test_a_cancelled_import_leaves_nothing(db: Database) -> None:
    await (await cut_import(db)).settled()
    assert await rows_left(db) == []


async def test_a_crash_during_an_import_leaves_nothing_after_the_next_start(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*given: Any) -> None:
        pass

    with monkeypatch.context() as crashed:
        crashed.setattr(import_holders, "erase", nothing)
        await (await cut_import(db)).settled()
    assert len(await db.fetch_all("SELECT id FROM messages")) == COUNT
    await Imports(db, Hub()).finish()
    assert await rows_left(db) == []


async def test_a_crash_after_everything_was_imported_leaves_all(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*given: Any) -> None:
        raise RuntimeError("on purpose")

    with monkeypatch.context() as crashed:
        crashed.setattr(import_holders, "deliver", crash)
        with pytest.raises(RuntimeError):
            await Imports(db, Hub()).import_file(1, packed(many()))
    assert await chats.list_ids(db, 1) == []
    await Imports(db, Hub()).finish()
    assert len(await chats.list_ids(db, 1)) == COUNT // 4 + 1
    assert await imports.fate(db, 1, {"id": "x", "import_key": "wick:0123456789abcdef"}) == "there"  # type: ignore[arg-type]


async def test_deleting_a_user_deletes_an_unfinished_import(db: Database) -> None:
    here = Cut(db, Hub())
    here.reached = asyncio.Event()
    taking = asyncio.create_task(here.import_file(1, packed(many())))
    await here.reached.wait()
    await import_holders.erase(db, 1)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await here.settled()
    assert await rows_left(db) == []


HOSTILE = b'[{"mapping":{},"x":[' + b"[]," * 400_000 + b"[]]}]"


@pytest.mark.parametrize(
    "limits",
    [
        ReadingLimits(memory=48 << 20),
        ReadingLimits(wall_seconds=0.0),
        ReadingLimits(cpu_seconds=0),
    ],
)
async def test_reading_an_import_ends_at_its_limits(db: Database, limits: ReadingLimits) -> None:
    with pytest.raises(InvalidMessage, match="too large for one import"):
        await Imports(db, Hub(), limits).import_file(1, io.BytesIO(HOSTILE))
    assert (await Imports(db, Hub()).import_file(1, io.BytesIO(HOSTILE))).empty == 1


async def test_the_server_process_reads_no_imported_json(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = packed(chatgpt())
    monkeypatch.setattr(json, "loads", pytest.fail)
    assert (await Imports(db, Hub()).import_file(1, file)).added == 1


async def test_an_import_without_room_for_temporary_files_gives_a_sentence(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **named: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(DiskFull, match="no room left for temporary files"):
        await Imports(db, Hub()).import_file(1, packed(chatgpt()))
