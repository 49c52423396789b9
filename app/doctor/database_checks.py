"""Checks of the database, and of the pictures that its rows name."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from app.config import Settings
from app.db.inspection import InspectedDatabase, inspect_copy, newest_version, rebuild_index
from app.doctor.findings import Finding, fault, note, ok
from app.media.picture_files import PictureFolder

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
            "Database", f"A later version of Wick wrote it ({version}; this one knows {newest})."
        )
        return
    size = settings.database.stat().st_size / 1e6
    yield ok("Database", f"It is whole: {copy.count_chats():,} chats, {size:.1f} MB.")
    if version < newest:
        yield note("Database", f"The next start brings it from version {version} to {newest}.")
        return
    if orphans := copy.orphans():
        tables = ", ".join(sorted(set(orphans)))
        yield fault("Database", f"{len(orphans):,} rows belong to nothing (in {tables}).")
    yield _check_search(copy, settings)
    yield _check_clock(copy)
    yield from _check_pictures(copy, settings)


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
