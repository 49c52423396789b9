"""A chat as a foreign file has it, whoever wrote the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from app.conversations.imports.values import Json

FinalStatus = Literal["done", "stopped", "failed", "interrupted"]


@dataclass(slots=True)
class ImportedMessage:
    """One message as a file has it. `parent`: the key of the one before it.

    results: how the run went that made an answer, by column.
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
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class SkippedChat:
    """Something of a file that was not imported: what it is called there, and why."""

    name: str
    reason: str
