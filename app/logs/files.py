"""Files of the log: written and rotated by the server, read and followed by `wick logs`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Final

from app.logs.lines import LogLine, from_json, to_json

FOLDER: Final = "logs"
FILE: Final = "wick.log"
OLD_FILES: Final = 4
FOLLOW_SECONDS: Final = 0.25


class PrivateFile(RotatingFileHandler):
    """Rotated file that only its owner may read. What a full disk does not take is left out."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass

    def close(self) -> None:
        with suppress(OSError):  # of what could not be written before
            super().close()

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_open_private)  # type: ignore[return-value]


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class LogFile:
    """The newest file of a folder's log, and the older ones beside it. max_bytes: of all."""

    def __init__(self, data_folder: Path, max_bytes: int) -> None:
        folder = data_folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = PrivateFile(
            folder / FILE,
            maxBytes=max_bytes // (OLD_FILES + 1),
            backupCount=OLD_FILES,
            encoding="utf-8",
        )

    def write(self, line: LogLine) -> None:
        self._file.emit(logging.makeLogRecord({"msg": to_json(line)}))

    def close(self) -> None:
        self._file.close()


def log_files(data_folder: Path) -> list[Path]:
    """List the files of a log, the oldest first."""
    newest = data_folder / FOLDER / FILE
    older = [newest.with_name(f"{FILE}.{number}") for number in range(OLD_FILES, 0, -1)]
    return [path for path in (*older, newest) if path.exists()]


class LogReader:
    """Reader of a folder's log: of all that is there, then of what is written from then on."""

    def __init__(self, data_folder: Path) -> None:
        self._data_folder = data_folder
        self._file: IO[bytes] | None = None
        self._rest = b""

    def read(self) -> Iterator[LogLine]:
        """Yield the lines of all files, the oldest first. What was cut off is left out."""
        for path in log_files(self._data_folder):
            try:
                file = path.open("rb")
            except FileNotFoundError:  # rotated away meanwhile
                continue
            yield from self._take(file)

    def follow(self, wait: Callable[[float], None] = time.sleep) -> Iterator[LogLine]:
        """Yield the lines that are written after those that were read, for ever, over rotations."""
        while True:
            yield from self._new_lines()
            if (file := self._open_next()) is not None:
                yield from self._new_lines()  # which came before the rotation
                yield from self._take(file)
            else:
                wait(FOLLOW_SECONDS)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _take(self, file: IO[bytes]) -> Iterator[LogLine]:
        self.close()
        self._file, self._rest = file, b""
        yield from self._new_lines()

    def _new_lines(self) -> Iterator[LogLine]:
        while self._file is not None and (text := self._file.readline()):
            self._rest += text
            if not self._rest.endswith(b"\n"):
                return  # the end of the line is being written
            line, self._rest = from_json(self._rest), b""
            if line is not None:
                yield line

    def _open_next(self) -> IO[bytes] | None:
        """Open the file that came after the one being read, if there is one by now."""
        try:
            later = log_files(self._data_folder)
            if self._file is not None:
                here = os.fstat(self._file.fileno())
                places = [os.path.samestat(path.stat(), here) for path in later]
                later = later[places.index(True) + 1 :] if True in places else later
            return later[0].open("rb") if later else None
        except FileNotFoundError:  # it is being rotated just now
            return None
