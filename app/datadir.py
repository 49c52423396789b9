"""Who owns a data folder: one process at a time, which is known to the others of this machine.

The owner holds a lock that its death frees. Beside it lies `owner.json`, which says who that is,
where it can be asked, and what shows it that whoever asks may read this folder. It means nothing
while nobody holds the lock.
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
    """`command`: what it was started as; `url`: where it serves, empty while it does not.

    secret: to be shown to that server, which then takes orders as from its own terminal.
    """

    pid: int
    command: str
    url: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class FolderLock:
    """Of this process, until `lock_data_folder` is left."""

    folder: Path
    command: str

    def publish(self, url: str, secret: str = "") -> None:
        """From now on this process serves there, and obeys who shows the secret."""
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
        Reserve(folder).look()
        ownership = FolderLock(folder, command)
        ownership.publish("")
        yield ownership
    finally:
        with suppress(OSError):
            (folder / OWNER_FILE).unlink(missing_ok=True)
        lock.release()


def read_owner(folder: Path) -> ServerInfo | None:
    """What the last owner said of itself; it may be gone without having said so."""
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
