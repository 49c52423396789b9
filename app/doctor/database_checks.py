"""Checks of the database, and of the pictures that its rows name."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from app.config import Settings
from app.datadir import ServerInfo
from app.db.inspection import (
    InspectedDatabase,
    copy_database,
    delete_orphans,
    inspect_copy,
    inspect_unchanged,
    rebuild_index,
)
from app.db.migrations import (
    list_copies,
    needed_bytes,
    new_copy_path,
    newest_version,
    part_of,
    remove_part,
)
from app.doctor.findings import Finding, fault, note, ok
from app.errors import ModelError, StoreError
from app.inference import kv_files
from app.media.picture_files import PictureFolder
from app.models.store import ModelStore

FUTURE_SECONDS: Final = 300.0
"""Seconds by which a message may be ahead of the clock: computers differ a little."""


def check_database(settings: Settings) -> Iterator[Finding]:
    path = settings.database
    if not path.exists():
        yield note("Database", "There is none yet; the first start makes it.")
        return
    try:
        with inspect_copy(path) as copy:
            yield from _check_copy(copy, settings)
    except sqlite3.Error as error:
        yield _damaged(str(error))
    except OSError as error:
        yield fault("Database", f"It could not be copied for a look: {error.strerror or error}.")


def _damaged(why: str) -> Finding:
    return fault(
        "Database", f"It is damaged ({why}). Move it away and restore a backup (wick restore)."
    )


def _check_copy(copy: InspectedDatabase, settings: Settings) -> Iterator[Finding]:
    if problems := copy.problems():
        yield _damaged("; ".join(problems))
        return
    version, newest = copy.version, newest_version()
    if version > newest:
        yield fault(
            "Database",
            f"A later version of Wick wrote it (schema {version}; this one knows {newest}). Update"
            f" Wick{_way_back(settings, newest)}.",
        )
        return
    size = settings.database.stat().st_size / 1e6
    yield ok("Database", f"It is whole: {copy.count_chats():,} chats, {size:.1f} MB.")
    if version < newest:
        yield note("Database", f"The next start brings it from schema {version} to {newest}.")
        yield from _check_room(settings)
        return
    if orphans := copy.orphans():
        tables = ", ".join(sorted(set(orphans)))
        yield fault(
            "Database",
            f"{len(orphans):,} rows belong to nothing (in {tables}).",
            partial(_delete_orphans, settings),
        )
    yield _check_search(copy, settings)
    yield _check_clock(copy)
    yield from _check_pictures(copy, settings)
    yield from _check_snapshots(copy, settings)


def _delete_orphans(settings: Settings) -> str:
    """Delete them after a copy: they may be what is left of somebody's chats."""
    database = settings.database
    copy = new_copy_path(database, newest_version())
    try:
        copy.touch(mode=0o600)
        copy_database(database, copy)
        count = delete_orphans(database)
    except sqlite3.Error as error:
        raise StoreError(f"{error}.") from error
    return f"{count:,} rows were deleted. {copy} is the database as it was."


def _check_snapshots(copy: InspectedDatabase, settings: Settings) -> Iterator[Finding]:
    """Check that each KV snapshot has its chat and its model, as the server does now and then."""
    folder = settings.kv_folder
    snapshots = list(kv_files.files(folder))
    try:
        models = [m for m in ModelStore(settings.models_dir).models() if m.remote is None]
    except ModelError:  # of which there is a finding of its own
        return
    if not snapshots or not models:  # perhaps the store's disk is not there today
        return
    chats = copy.chat_ids()
    known = {kv_files.model_key(model.digest, model.size) for model in models}
    keys = {kv_files.chat_key(chat) for chat in chats}
    lost = sum(path.parent.name not in known or path.stem not in keys for path in snapshots)
    if lost:
        yield note(
            "KV snapshots",
            f"{lost:,} belong to no chat or no model any more.",
            lambda: f"{kv_files.purge(folder, known, chats):,} were deleted.",
        )


def _way_back(settings: Settings, newest: int) -> str:
    usable = [copy for copy in list_copies(settings.database) if copy.schema <= newest]
    return f", or put {usable[0].path} in its place (docs/operations.md)" if usable else ""


def _check_room(settings: Settings) -> Iterator[Finding]:
    needed = needed_bytes(settings.database)
    free = shutil.disk_usage(settings.data_dir).free
    if free < needed:
        yield fault(
            "Disk",
            f"The upgrade takes {needed / 1e6:,.0f} MB for a copy of the database, and"
            f" {free / 1e6:,.0f} MB are free. Make room first.",
        )


def check_copies(settings: Settings, owner: ServerInfo | None) -> Iterator[Finding]:
    """Check the copies from before upgrades: each can be read by the version it is of."""
    database = settings.database
    copies = list_copies(database)
    part = part_of(database)
    if part.exists() and owner is None:
        yield note("Upgrades", "A copy was never finished.", lambda: _remove_part(part))
    damaged = [copy.path.name for copy in copies if not _is_whole(copy.path)]
    if damaged:
        yield fault("Upgrades", f"Damaged copies from before an upgrade: {', '.join(damaged)}.")
    elif copies:
        size = sum(copy.path.stat().st_size for copy in copies) / 1e6
        schemas = ", ".join(str(copy.schema) for copy in copies)
        yield ok(
            "Upgrades",
            f"Copies of the database from before: schema {schemas}, {size:.1f} MB. At most"
            f" {settings.upgrade_copies_kept} are kept.",
        )


def _is_whole(path: Path) -> bool:
    try:
        with inspect_unchanged(path) as copy:
            return not copy.problems()
    except sqlite3.Error:
        return False


def _remove_part(part: Path) -> str:
    remove_part(part)
    return "The unfinished copy was deleted."


def _check_search(copy: InspectedDatabase, settings: Settings) -> Finding:
    stale = copy.stale_indexes()
    if not stale:
        return ok("Search", "The indexes fit the texts.")
    return fault(
        "Search",
        f"What is indexed does not fit the texts ({', '.join(stale)}), so it misses some.",
        partial(_rebuild, settings, stale),
    )


def _rebuild(settings: Settings, indexes: list[str]) -> str:
    for index in indexes:
        rebuild_index(settings.database, index)
    return "All texts were indexed again."


def _check_clock(copy: InspectedDatabase) -> Finding:
    latest = copy.latest_message()
    if latest is not None and latest > time.time() + FUTURE_SECONDS:
        return note(
            "Clock",
            "The newest message is from the future: the clock was wrong then, or is now. Chats may"
            " stand in a wrong order.",
        )
    return ok("Clock", f"It is {time.strftime('%Y-%m-%d %H:%M')} here, after all messages.")


def _check_pictures(copy: InspectedDatabase, settings: Settings) -> Iterator[Finding]:
    """Check that each has its file. Files that no message has are deleted by the server."""
    files = PictureFolder(settings.data_dir / "pictures")
    pictures = copy.pictures()
    missing = sum(files.path(digest, media_type) is None for digest, media_type in pictures)
    if missing:
        yield fault(
            "Pictures",
            f"{missing:,} of {len(pictures):,} have lost their file. A backup may have them:"
            " restore it into another folder and copy its pictures.",
        )
    elif pictures:
        yield ok("Pictures", f"All {len(pictures):,} have their file.")
