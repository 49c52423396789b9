"""Tools that do what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from app.models.text.tools import ToolCallDelta, ToolSpec
from app.tools.tool import Tool, ToolContext, ToolResult

SCHEMA = '{"type": "object", "properties": {"text": {"type": "string"}}}'


def tool(name: str, *, asks: bool = True) -> Tool:
    return Tool(ToolSpec(name, f"What {name} does.", SCHEMA), name.title(), "Test", asks=asks)


class ScriptedTools:
    """Offers tools; each call waits until `give` is called for its tool."""

    def __init__(self, *tools: Tool) -> None:
        self.offered = tools
        self.calls: list[tuple[ToolContext, str, Mapping[str, Any]]] = []
        self.cancelled: list[str] = []
        self._results: dict[str, asyncio.Queue[ToolResult]] = {}

    def _queue(self, name: str) -> asyncio.Queue[ToolResult]:
        return self._results.setdefault(name, asyncio.Queue())

    def give(self, name: str, text: str, *, is_error: bool = False) -> None:
        self._queue(name).put_nowait(ToolResult(text, is_error))

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        return self.offered

    async def call(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        self.calls.append((context, name, arguments))
        try:
            return await self._queue(name).get()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise


def called(index: int, name: str, arguments: str = "{}") -> ToolCallDelta:
    return ToolCallDelta(index, f"id{index}{name}", name, arguments)
