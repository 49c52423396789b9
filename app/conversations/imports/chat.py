"""Chats as files have them, whoever wrote the file, and readers of the values in such files.

A value that is not as it should be, `null` too, counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from app.conversations.settings import sanitize_text

Json = dict[str, Any]
PICTURE = "[not in the export: a picture or a file]"
FinalStatus = Literal["done", "stopped", "failed", "interrupted"]


@dataclass(slots=True)
class ImportedMessage:
    """One message as a file has it. `parent`: the key of the one before it.

    results: how the run went that made an answer, by column; attachments: names and texts of files.
    is_omitted: it has something that cannot be taken over; is_work: a call of a tool or its result.
    """

    key: str
    parent: str | None
    role: str
    text: str
    at: float | None = None
    model: str | None = None
    status: FinalStatus = "done"
    error: str | None = None
    settings: Json = field(default_factory=dict)
    results: Json = field(default_factory=dict)
    finished_at: float | None = None
    attachments: list[Json] = field(default_factory=list)
    is_omitted: bool = False
    is_work: bool = False


@dataclass(slots=True)
class ImportedConversation:
    """One chat of a file: messages in an order in which parents come first. Times in seconds.

    omitted: how many messages could not be taken over, whole or in part.
    """

    key: str
    title: str
    model: str
    created_at: float | None
    updated_at: float | None
    nodes: list[ImportedMessage]
    current: str | None
    is_archived: bool = False
    is_pinned: bool = False
    is_named: bool = True
    settings: Json = field(default_factory=dict)
    folder: Json = field(default_factory=dict)
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class ImportedAbout:
    """Text that the user of a file has written about themselves."""

    text: str


@dataclass(frozen=True, slots=True)
class ImportedFolder:
    """A folder with its documents. values: its name, instructions and model."""

    values: dict[str, str]
    documents: list[Json]


@dataclass(frozen=True, slots=True)
class SkippedChat:
    """Something of a file that was not imported: what it is called there, and why."""

    name: str
    reason: str


def dict_in(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def list_in(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dicts_in(value: Any) -> Iterator[Json]:
    return (item for item in list_in(value) if isinstance(item, dict))


def text_in(value: Any) -> str:
    """Text that SQLite and UTF-8 can hold; anything else is nothing."""
    return sanitize_text(value) if isinstance(value, str) else ""


def key_in(value: Any) -> str | None:
    """The id of a message, which some files write as a number."""
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, str | int) else None


def number_of(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and -1e15 < value < 1e15 else None


def time_in(value: Any) -> float | None:
    """Seconds since 1970; some files have thousandths, or less."""
    number = number_of(value)
    while number is not None and number > 1e11:
        number /= 1000
    return None if number is None or number <= 0 else float(number)


def fenced(text: str, language: str = "") -> str:
    """A block of code that nothing inside it ends."""
    longest = max((len(run) for run in _runs(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _runs(text: str) -> Iterator[str]:
    return (run for line in text.split("\n") for run in [_leading(line.strip())] if run)


def _leading(line: str) -> str:
    return line[: len(line) - len(line.lstrip("`"))]


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.strip().split("\n"))
