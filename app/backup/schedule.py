"""Backups once a day into a folder of the owner's choice, of which the newest stay."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.age import read_passphrase
from app.background import background_executor
from app.backup.archive import backup_name, write_backup
from app.config import Settings
from app.errors import BackupError, EncryptionError

log = logging.getLogger(__name__)
DAY_SECONDS: Final = 86400.0
LOOK_SECONDS: Final = 600.0
"""Seconds between two looks whether one is due: a computer that slept meanwhile is late at most so
long, and one that failed is tried again."""
_NAME: Final = re.compile(r"wick-\d{4}-\d{2}-\d{2}-\d{6}\.zip(\.age)?")


class BackupSchedule:
    """Makes a backup whenever the newest in `WICK_BACKUP_DIR` is a day old.

    failure: why the last one failed, in a sentence; empty while all is well. clock: seconds since
    1970. changed: is called when `failure` has changed.
    """

    def __init__(
        self,
        settings: Settings,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._changed = changed
        self._clock = clock
        self._thread = background_executor("backup")
        self.failure = ""

    @property
    def folder(self) -> Path | None:
        return self._settings.backup_dir

    def newest(self) -> float | None:
        """Return when the newest backup was made, in seconds since 1970. Reads the disk."""
        made = [path.stat().st_mtime for path in self._backups()]
        return max(made, default=None)

    async def run(self) -> None:
        """Make backups when they are due, until cancelled."""
        while True:
            await self.make_due()
            await asyncio.sleep(LOOK_SECONDS)

    async def make_due(self) -> None:
        """Make a backup if one is due."""
        newest = await asyncio.to_thread(self.newest)
        if newest is not None and self._clock() < newest + DAY_SECONDS:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._make)
        except (BackupError, EncryptionError) as error:
            log.error("The daily backup failed: %s", error)
            self._set_failure(f"The daily backup failed: {error}")
        else:
            self._set_failure("")

    def _set_failure(self, sentence: str) -> None:
        if sentence != self.failure:
            self.failure = sentence
            self._changed()

    def _make(self) -> None:
        assert self.folder is not None  # noqa: S101 - else nobody runs it
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise BackupError(f"{self.folder} cannot be made: {error.strerror}.") from error
        file = self._settings.backup_passphrase_file
        passphrase = read_passphrase(file) if file else ""
        name = backup_name(self._clock(), is_encrypted=bool(passphrase))
        target = self.folder / name
        write_backup(self._settings, target, passphrase)
        log.info("Backed up into %s.", target)
        for path in self._backups()[: -self._settings.backups_kept]:
            path.unlink(missing_ok=True)

    def _backups(self) -> list[Path]:
        """List the backups in the folder, the oldest first. Nothing else in it is touched."""
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
