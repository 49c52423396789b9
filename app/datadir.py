"""Ownership of a data folder: one process at a time, which the others on this computer can find.

The owner holds a lock that is released when it dies. Beside it, `owner.json` holds its command, its
URL, and a secret that proves that a client may read this folder. The file means nothing while
nobody holds the lock.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from app.disk_reserve import Reserve
from app.errors import DataFolderInUse, StoreUnusable

LOCK: Final = "wick.lock"
OWNER_FILE: Final = "owner.json"


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Owner of a data folder. `command`: as it was started; `url`: its address, empty without a
    server.

    secret: whoever shows it to that server may give orders like its own terminal.
    """

    pid: int
    command: str
    url: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class FolderLock:
    """Lock of this process on its data folder, held until `lock_data_folder` exits."""

    folder: Path
    command: str

    def publish(self, url: str, secret: str = "") -> None:
        """Publish the URL of this process and the secret that it obeys."""
        card = self.folder / OWNER_FILE
        beside = card.with_suffix(f".{os.getpid()}")
        try:
            beside.touch(mode=0o600)
            beside.write_text(
                json.dumps(asdict(ServerInfo(os.getpid(), self.command, url, secret)))
            )
            beside.replace(card)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StoreUnusable(
                    f"There is no room left on the disk, not even for {card}. Make some first."
                ) from error
            raise StoreUnusable(f"{card} cannot be written: {error.strerror}.") from error


@contextmanager
def lock_data_folder(folder: Path, command: str) -> Iterator[FolderLock]:
    """Own the data folder. Raises DataFolderInUse while another process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreUnusable(f"{folder} cannot be used: {error.strerror}.") from error
    lock = FileLock(folder / LOCK, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DataFolderInUse(_in_use_message(folder, read_owner(folder))) from None
    except OSError as error:
        raise StoreUnusable(f"{folder / LOCK} cannot be locked: {error.strerror}.") from error
    try:
        Reserve(folder).refresh()
        ownership = FolderLock(folder, command)
        ownership.publish("")
        yield ownership
    finally:
        with suppress(OSError):
            (folder / OWNER_FILE).unlink(missing_ok=True)
        lock.release()


def read_owner(folder: Path) -> ServerInfo | None:
    """Read what the last owner published; it may have died since."""
    try:
        return ServerInfo(**json.loads((folder / OWNER_FILE).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _in_use_message(folder: Path, owner: ServerInfo | None) -> str:
    who = f"“{owner.command}” (process {owner.pid})" if owner else "another process of Wick"
    where = f", which serves them at {owner.url}" if owner and owner.url else ""
    return (
        f"The chats in {folder} are in use by {who}{where}. Only one process may own them: end "
        "that one first, or set WICK_DATA_DIR to another folder. Beside “wick serve”, any number "
        "of terminals may chat."
    )
