"""Tools that Wick runs for a chat, and what offers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.models.text.tools import ToolSpec


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its user sees it. spec: as models are told of it; title: its name for people;
    source: who offers it, for people; asks: whether each call waits until its user has allowed it.
    """

    spec: ToolSpec
    title: str
    source: str
    asks: bool = True


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool runs."""

    user_id: int
    chat_id: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave, for the model to read: a result, or in words what went wrong."""

    text: str
    is_error: bool = False


class ToolSource(Protocol):
    """Protocol of what offers tools. Their names are its own among all sources."""

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        """List what this user may use, without waiting for anything far away."""
        ...

    async def call(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        """Run one of them. Cancelling ends it. It raises nothing: what goes wrong is a result."""
        ...
