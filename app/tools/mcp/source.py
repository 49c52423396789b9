"""Tools of MCP servers as chats use them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.db.mcp_servers import McpServer
from app.errors import ToolError
from app.models.text.tools import ToolSpec
from app.tools.mcp.names import unique_names
from app.tools.mcp.protocol import Called, CallTool, McpTool
from app.tools.mcp.servers import McpServers, offers_from
from app.tools.tool import Tool, ToolContext, ToolResult


class McpSource:
    """ToolSource of all MCP servers. Lists come from the database: no server is waited for."""

    def __init__(self, servers: McpServers) -> None:
        self._servers = servers

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        """List the tools of the servers that this user may use."""
        usable = await self._servers.usable(context.user_id)
        return [
            Tool(_spec(name, tool), tool.title, server.name)
            for server in usable
            for name, tool in named_tools(server)
        ]

    async def call(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        """Run a tool, if this user (still) may."""
        found = await self._find(context.user_id, name)
        if found is None:
            return ToolResult(f"There is no tool named “{name[:80]}”.", is_error=True)
        server, tool = found
        try:
            called = await self._servers.request(
                server, context.user_id, lambda i: CallTool(i, tool.name, dict(arguments))
            )
        except ToolError as error:
            return ToolResult(f"The tool server {server.name} failed. {error}", is_error=True)
        assert isinstance(called, Called)  # noqa: S101 - it answers what was asked
        return ToolResult(called.text, called.is_error)

    async def _find(self, user_id: int, name: str) -> tuple[McpServer, McpTool] | None:
        for server in await self._servers.usable(user_id):
            for known, tool in named_tools(server):
                if known == name:
                    return server, tool
        return None


def named_tools(server: McpServer) -> Iterator[tuple[str, McpTool]]:
    """List a server's tools with their names for models."""
    offered = {tool.name: tool for tool in offers_from(server.offers).tools}
    for name, tool in unique_names(server.name, offered).items():
        yield name, offered[tool]


def _spec(name: str, tool: McpTool) -> ToolSpec:
    return ToolSpec(name, tool.description, msgspec.json.encode(tool.parameters).decode())
