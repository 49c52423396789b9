"""Files that go along with a message: read here; the server checks what is in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from app.conversations.attachments import MAX_FILES, max_bytes
from app.errors import InvalidMessage

STANDARD_INPUT: Final = "-"
MAX_LISTED: Final = 500
"""Files of a folder among which a name is completed."""
_STANDARD_INPUT_NAME: Final = "input.txt"


@dataclass(frozen=True, slots=True)
class LocalFile:
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that the server has, for one message. tokens: how many a model is given of it;
    source: the same file here; is_estimate: whether no tokenizer has counted its tokens."""

    id: int
    name: str
    tokens: int
    source: LocalFile
    is_estimate: bool = True


def read_files(names: Sequence[str]) -> list[LocalFile]:
    """Read files by their paths; `-` is standard input. Raises InvalidMessage."""
    check_count(len(names))
    if names.count(STANDARD_INPUT) > 1:
        raise InvalidMessage("Standard input can be attached once only.")
    return [read_file(name) for name in names]


def check_count(count: int) -> None:
    """Raises InvalidMessage for more files than one message may have."""
    if count > MAX_FILES:
        raise InvalidMessage(f"Attach at most {MAX_FILES} files to a message.")


def read_file(name: str) -> LocalFile:
    if name == STANDARD_INPUT:
        return _read(_STANDARD_INPUT_NAME, "standard input", sys.stdin.buffer)
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            return _read(path.name, name, file)
    except OSError as error:
        raise InvalidMessage(f"Can't read {name}: {error.strerror}.") from error


def _read(name: str, place: str, file: BinaryIO) -> LocalFile:
    limit = max_bytes(name)
    data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidMessage(f"{place} is too large: the limit is {limit >> 20} MB.")
    return LocalFile(name, data)


def matching_files(begun: str) -> list[str]:
    """List what a path that was begun may become; folders end with a slash."""
    folder, slash, name = begun.rpartition("/")
    try:
        found = list(islice(os.scandir(Path(folder + slash or ".").expanduser()), MAX_LISTED))
        paths = [f"{folder}{slash}{one.name}{'/' if one.is_dir() else ''}" for one in found]
    except OSError:
        return []
    is_shown = [name.startswith(".") or not one.name.startswith(".") for one in found]
    return sorted(path for path, shown in zip(paths, is_shown, strict=True) if shown)


def describe(file: SentFile) -> str:
    about = "about " if file.is_estimate else ""
    return f"{file.name} ({about}{file.tokens:,} {'token' if file.tokens == 1 else 'tokens'})"
