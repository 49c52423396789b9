"""Connections to SQLite: exactly one that writes, owned by one task, and two that only read.

Two connections that write or checkpoint at once can meet a rare fault in SQLite's WAL (before
3.51.3), and a cancelled `await` does not stop a statement on its way. So every write is a
function handed to the writer task, which runs it in one transaction to its end, whatever becomes
of the caller.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiosqlite

from app.db.migrations import COPIES_KEPT, migrate
from app.db.search import folded
from app.errors import DiskFull, SearchTooLong, StoreError, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)
logging.getLogger("aiosqlite").setLevel(logging.INFO)  # it logs statements, and so what users write
T = TypeVar("T")
WriteFn = Callable[[aiosqlite.Connection], Awaitable[T]]
WAITING_WRITES = 1000
SEARCH_SECONDS = 5.0
NEEDED_TO_OPEN = 64 << 10
"""Bytes of the disk: an index of its log, before anything is read."""
STEPS = 20_000
"""Of SQLite's machine, between two looks at the clock in a search."""
OURS: Final = frozenset({"chats", "messages"})
"""Tables that every version has."""
INDEXES = ("titles_index", "messages_index", "attachments_index", "passages_index")
MERGED = 500
"""Pages of an index that are merged at a time."""


@dataclass(slots=True)
class _Write:
    work: WriteFn[Any]
    result: asyncio.Future[Any]
    is_transaction: bool = True


class Database:
    """Use `open_database`. `write` runs a function in one transaction; `fetch_*` only read, and so
    does `search`."""

    def __init__(
        self,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        searcher: aiosqlite.Connection,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._searcher = searcher
        self._searching = asyncio.Lock()
        self._search_until = 0.0
        self._writes: asyncio.Queue[_Write | None] = asyncio.Queue(WAITING_WRITES)

    async def write(self, work: WriteFn[T]) -> T:
        """Run `work` in a transaction and return its result, once that is on the disk.

        A caller that is cancelled while it waits does not undo or stop the write. Raises DiskFull
        or StoreError, with nothing of the transaction kept.
        """
        result: T = await self._enqueue(work, is_transaction=True)
        return result

    async def try_write(self, work: WriteFn[T]) -> T | None:
        """Write what is only noted while a user reads: without it, reading goes on.

        Returns None where it could not be saved.
        """
        try:
            return await self.write(work)
        except StoreError as error:
            log.warning("Something was not noted: %s", error)
            return None

    async def purge_deleted_text(self) -> None:
        """Leave no word of what has been deleted in the indexes and in the log.

        Deleted rows themselves are overwritten at once (`secure_delete`). In steps, between which
        others write. Raises DiskFull, StoreError.
        """
        for index in INDEXES:
            step = -MERGED  # which begins anew
            while await self.write(lambda c, i=index, s=step: _merge(c, i, s)):  # type: ignore[misc]
                step = MERGED
        await self._enqueue(_empty_log, is_transaction=False)

    async def _enqueue(self, work: WriteFn[T], *, is_transaction: bool) -> T:
        write = _Write(work, asyncio.get_running_loop().create_future(), is_transaction)
        await self._writes.put(write)
        result: T = await write.result
        return result

    async def fetch_all(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        try:
            return list(await self._reader.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise _translate_error(error) from error

    async def fetch_one(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Row | None:
        return next(iter(await self.fetch_all(sql, parameters)), None)

    async def search(self, sql: str, parameters: Mapping[str, object]) -> list[sqlite3.Row]:
        """Read what may take long, one after another, while everything else is read beside it.

        Raises SearchTooLong after SEARCH_SECONDS, or StoreError.
        """
        async with self._searching:
            self._search_until = time.monotonic() + SEARCH_SECONDS
            try:
                return list(await self._searcher.execute_fetchall(sql, parameters))
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                    raise SearchTooLong("The search took too long. Narrow it down.") from error
                raise _translate_error(error) from error

    def _deadline_passed(self) -> bool:
        """Tell SQLite, which asks now and then while it searches, whether to give up."""
        return time.monotonic() > self._search_until

    async def _run(self) -> None:
        while (write := await self._writes.get()) is not None:
            try:
                if write.is_transaction:
                    await self._writer.execute("BEGIN IMMEDIATE")
                value = await write.work(self._writer)
                await self._writer.commit()
            except Exception as error:
                await self._rollback()
                _resolve(write.result, error=_translate_error(error))
            else:
                _resolve(write.result, value=value)

    async def _rollback(self) -> None:
        # SQLite itself rolls back on some errors (a full disk), and then there is nothing to undo.
        if not self._writer.in_transaction:
            return
        try:
            await self._writer.rollback()
        except sqlite3.Error as error:  # the next write fails, and tries this again
            log.error("SQLite could not undo a write: %s", error)

    async def _stop(self) -> None:
        self._search_until = 0.0
        await self._writes.put(None)


def _resolve(
    result: asyncio.Future[Any], *, value: object = None, error: Exception | None = None
) -> None:
    if result.done():
        if error is not None:
            log.error("A write failed after its caller had gone: %s", error)
    elif error is not None:
        result.set_exception(error)
    else:
        result.set_result(value)


async def _merge(connection: aiosqlite.Connection, index: str, pages: int) -> bool:
    """Return whether there is more to merge."""
    before = connection.total_changes
    await connection.execute(
        f"INSERT INTO {index} ({index}, rank) VALUES ('merge', ?)",  # noqa: S608 - one of ours
        (pages,),
    )
    return connection.total_changes - before >= 2  # as SQLite says how to tell


async def _empty_log(connection: aiosqlite.Connection) -> None:
    await connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _translate_error(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return DiskFull("There is no room left on the disk, so this could not be saved.")
    log.error("SQLite refused: %s", error)
    return StoreError(f"The database could not do this: {error}.")


@asynccontextmanager
async def open_database(path: Path, copies_kept: int = COPIES_KEPT) -> AsyncIterator[Database]:
    """Open the database at `path`, create and migrate it as needed; writes under way end before it
    closes. Only the owner of its folder may do this.

    copies_kept: copies from before upgrades that stay beside it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.open("r+b").close()  # aiosqlite's thread would be left over where this is refused
        writer = await aiosqlite.connect(path, isolation_level=None)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(path, error) from error
    try:
        try:
            await _check_origin(writer, path)
            await _configure(writer)
            await migrate(writer, path, copies_kept=copies_kept)
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        async with _run(writer, f"{path.as_uri()}?mode=ro") as database:
            yield database
    finally:
        await writer.close()


@asynccontextmanager
async def open_memory(name: str, prepare: str) -> AsyncIterator[Database]:
    """Open a new database of the same schema that no file holds, and run `prepare` in it.

    SQLite's `memdb` shares it between connections of this process by its name. Nor do temporary
    tables and journals touch the disk.
    """
    uri = f"file:/{name}?vfs=memdb"
    writer = await aiosqlite.connect(uri, uri=True, isolation_level=None)
    try:
        await _configure(writer)
        await writer.execute("PRAGMA temp_store = MEMORY")
        await migrate(writer, Path(name))
        await writer.executescript(prepare)
        async with _run(writer, uri) as database:
            yield database
    finally:
        await writer.close()


@asynccontextmanager
async def _run(writer: aiosqlite.Connection, uri: str) -> AsyncIterator[Database]:
    """Run a database: what is being written ends before it closes."""
    async with _reader(uri) as reader, _reader(uri) as searcher:
        database = Database(writer, reader, searcher)
        await searcher.set_progress_handler(database._deadline_passed, STEPS)
        await searcher.create_function("folded", 1, folded, deterministic=True)
        task = asyncio.create_task(database._run(), name="database writer")
        try:
            yield database
        finally:
            await database._stop()
            await task


@asynccontextmanager
async def _reader(uri: str) -> AsyncIterator[aiosqlite.Connection]:
    connection = await aiosqlite.connect(uri, uri=True)
    try:
        connection.row_factory = sqlite3.Row
        await connection.execute("PRAGMA query_only = ON")
        await connection.execute("PRAGMA temp_store = MEMORY")
        await connection.execute("PRAGMA busy_timeout = 5000")
        yield connection
    finally:
        await connection.close()


async def _configure(connection: aiosqlite.Connection) -> None:
    connection.row_factory = sqlite3.Row
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
        "busy_timeout = 5000",
    ):
        await connection.execute(f"PRAGMA {pragma}")


_UNUSABLE = {
    sqlite3.SQLITE_NOTADB: "{path} is no database. Move it away to start with an empty one.",
    sqlite3.SQLITE_CORRUPT: "The database {path} is damaged ({error}). Put a copy of it in its "
    "place, or move it away to start with an empty one.",
    sqlite3.SQLITE_FULL: "There is no room left on the disk to open the database {path}. Make "
    "some first.",
}


def _unusable(path: Path, error: Exception) -> StoreUnusable:
    """Return why the database cannot be opened, by SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    why = error.strerror if isinstance(error, OSError) else error
    if shutil.disk_usage(path.parent).free < NEEDED_TO_OPEN:
        code = sqlite3.SQLITE_FULL
    sentence = _UNUSABLE.get(code & 0xFF, "The database {path} cannot be opened: {error}.")
    return StoreUnusable(sentence.format(path=path, error=why))


async def _check_origin(connection: aiosqlite.Connection, path: Path) -> None:
    """Raise StoreUnusable for a database that is not Wick's, which is left as it is."""
    sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = {str(row[0]) for row in await connection.execute_fetchall(sql)}
    if tables and not tables >= OURS:
        raise StoreUnusable(
            f"The database {path} belongs to another application. Set WICK_DATA_DIR to a folder of "
            "Wick's own."
        )
