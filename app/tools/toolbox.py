"""All tools that there are, from every source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from app.tools.tool import Tool, ToolContext, ToolResult, ToolSource

log = logging.getLogger(__name__)


class Toolbox:
    """Asks every source. Of tools with one name the first is the one that counts."""

    def __init__(self, *sources: ToolSource) -> None:
        self.sources: list[ToolSource] = list(sources)

    async def tools(self, context: ToolContext) -> dict[str, Tool]:
        """Map names to the tools that this user may use, in the order of their sources."""
        return {name: tool for name, (tool, _) in (await self._offers(context)).items()}

    async def _offers(self, context: ToolContext) -> dict[str, tuple[Tool, ToolSource]]:
        found = dict[str, tuple[Tool, ToolSource]]()
        for source in self.sources:
            for tool in await source.tools(context):
                found.setdefault(tool.spec.name, (tool, source))
        return found

    async def call(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        """Run a tool. What goes wrong is a result."""
        _, source = (await self._offers(context)).get(name, (None, None))
        if source is None:
            return ToolResult(f"There is no tool “{name}” any more.", is_error=True)
        try:
            return await source.call(context, name, arguments)
        except Exception:
            log.exception("The tool %s failed.", name)
            return ToolResult("The tool failed inside Wick.", is_error=True)
