"""A look at a database from outside: at a copy in one moment, which holds nobody up."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app.db.connection import INDEXES

MAX_PROBLEMS = 5


class InspectedDatabase:
    """A database that nobody else uses. Methods raise `sqlite3.Error` where it is damaged."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with its pages; empty for a whole database."""
        rows = self._connection.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})")
        return [str(row[0]).splitlines()[-1] for row in rows if row[0] != "ok"]

    @property
    def version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def count_chats(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM chats").fetchone()[0])

    def orphans(self) -> list[str]:
        """Return the table of each row that refers to one that is not there."""
        return [str(row[0]) for row in self._connection.execute("PRAGMA foreign_key_check")]

    def chat_ids(self) -> set[str]:
        return {str(row[0]) for row in self._connection.execute("SELECT id FROM chats")}

    def stale_indexes(self) -> list[str]:
        """Return the search indexes that do not fit the texts."""
        return [index for index in INDEXES if not self._fits(index)]

    def _fits(self, index: str) -> bool:
        sql = f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)"  # noqa: S608 - one of ours
        try:
            self._connection.execute(sql)
        except sqlite3.DatabaseError:
            return False
        return True

    def latest_message(self) -> float | None:
        """Return when the newest message was written."""
        (latest,) = self._connection.execute("SELECT max(created_at) FROM messages").fetchone()
        return None if latest is None else float(latest)

    def pictures(self) -> set[tuple[str, str]]:
        """Return digest and media type of all pictures and sounds."""
        rows = self._connection.execute(
            "SELECT digest, media_type FROM attachments WHERE kind IN ('image', 'audio')"
        )
        return {(str(digest), str(media_type)) for digest, media_type in rows}


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that others may be writing, as it is in one moment. Raises sqlite3.Error."""
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as original,
        closing(sqlite3.connect(target)) as copy,
    ):
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def inspect_copy(path: Path) -> Iterator[InspectedDatabase]:
    """Copy a database and look at the copy. Raises sqlite3.Error, OSError."""
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=path.parent) as folder:
        copy = Path(folder) / path.name
        copy_database(path, copy)
        with inspect(copy) as inspected:
            yield inspected


@contextmanager
def inspect(path: Path) -> Iterator[InspectedDatabase]:
    """Look at a database that nobody else has open. Raises sqlite3.Error."""
    with closing(sqlite3.connect(path)) as connection:
        yield InspectedDatabase(connection)


@contextmanager
def inspect_unchanged(path: Path) -> Iterator[InspectedDatabase]:
    """Look at a database that nobody writes any more. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        yield InspectedDatabase(connection)


def rebuild_index(path: Path, index: str) -> None:
    """Rebuild a search index of a database that nobody else has open."""
    assert index in INDEXES  # noqa: S101 - it becomes a part of a statement
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")  # noqa: S608


def delete_orphans(path: Path) -> int:
    """Delete the rows of a database that belong to nothing, with all below them, and cut links to
    what is not there where the schema allows it. Nobody else may have it open. Returns how many."""
    count, before = 0, None
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        while found := connection.execute("PRAGMA foreign_key_check").fetchall():
            if found == before:
                raise sqlite3.DatabaseError(f"{len(found):,} rows cannot be deleted")
            before = found
            for table, row, _, number in found:
                key = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
                _, _, _, column, _, _, on_delete, _ = next(k for k in key if k[0] == number)
                if on_delete == "SET NULL":
                    sql = f"UPDATE {table} SET {column} = NULL WHERE rowid = ?"  # noqa: S608
                else:
                    sql = f"DELETE FROM {table} WHERE rowid = ?"  # noqa: S608 - of the schema
                connection.execute(sql, (row,))
            count += len(found)
    return count
