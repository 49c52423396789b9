"""Checks of the data folder: who owns what is in it, its lock, and what crashes have left."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from app.config import Settings
from app.datadir import LOCK, OWNER_FILE, ServerInfo
from app.doctor.findings import Finding, fault, note, ok
from app.local_server import client_options

LEFTOVER_SECONDS: Final = 3600.0
"""After which what was being made is taken for left by a crash."""
ANSWER_SECONDS: Final = 5.0
_HIDDEN_FOLDERS: Final = (".copy-*", ".backup-*", ".restore-*")


def check_owners(settings: Settings) -> Iterator[Finding]:
    """Check that one user owns all of it: a single `sudo wick` leaves files nobody else can use."""
    folder = settings.data_dir
    if not folder.is_dir():
        return
    owner, wrong = folder.stat(), list[Path]()
    for path in _files_of(settings):
        if path.lstat().st_uid != owner.st_uid:
            wrong.append(path)
    if not wrong:
        return
    names = ", ".join(str(path.relative_to(folder)) for path in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    may_mend = os.geteuid() == 0
    hint = "" if may_mend else f" Run: sudo chown -R {owner.st_uid}:{owner.st_gid} {folder}"
    yield fault(
        "Data folder",
        f"{names}{more} belong to another user than the folder.{hint}",
        partial(_give, wrong, owner) if may_mend else None,
    )


def _files_of(settings: Settings) -> Iterator[Path]:
    """Yield what Wick writes in the folder, without single models, snapshots and pictures."""
    folder = settings.data_dir
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from sorted(path.iterdir())


def _give(paths: Sequence[Path], owner: os.stat_result) -> str:
    for path in paths:
        for here in (path, *(path.rglob("*") if path.is_dir() else ())):
            os.chown(here, owner.st_uid, owner.st_gid, follow_symlinks=False)
    return "They belong to the owner of the folder now."


def check_lock(settings: Settings, owner: ServerInfo | None, problem: str) -> Iterator[Finding]:
    """Check that the folder can be owned, or that its owner answers. problem: why it can't be."""
    if problem:
        yield fault("Lock", problem)
    elif owner is None:
        yield ok("Lock", "Nobody holds the data folder.")
    elif owner.url and not _answers(settings, owner):
        yield fault(
            "Lock",
            f"“{owner.command}” (process {owner.pid}) holds the data folder and does not answer at"
            f" {owner.url}. If it goes on, end it: kill {owner.pid}",
        )
    else:
        yield ok("Lock", f"“{owner.command}” (process {owner.pid}) holds it, and is alive.")


def _answers(settings: Settings, owner: ServerInfo) -> bool:
    options = client_options(settings, owner.url, "")
    try:
        with httpx.Client(**options, timeout=ANSWER_SECONDS) as client:
            return client.get(f"{settings.base_path}/healthz").is_success
    except httpx.HTTPError:
        return False


def check_leftovers(settings: Settings) -> Iterator[Finding]:
    """Check for what a crash has left half made: whole databases, for example."""
    folder, until = settings.data_dir, time.time() - LEFTOVER_SECONDS
    if not folder.is_dir():
        return
    found = [path for pattern in _HIDDEN_FOLDERS for path in folder.glob(pattern)]
    found += folder.glob("pictures/??/*.tmp")
    found += [path for path in folder.glob(f"{Path(OWNER_FILE).stem}.*") if path.name != OWNER_FILE]
    if settings.backup_dir is not None:
        found += settings.backup_dir.glob(".wick-*.zip-*.part")
    old = [path for path in found if path.lstat().st_mtime < until and path.name != LOCK]
    if old:
        size = sum(map(_size, old)) / 1e6
        yield note(
            "Leftovers",
            f"{len(old):,} files or folders of a crash take {size:,.1f} MB.",
            partial(_remove, old),
        )


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in (path, *path.rglob("*")))


def _remove(paths: Sequence[Path]) -> str:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return f"{len(paths):,} leftovers were deleted."
