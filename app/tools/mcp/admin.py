"""Administration of tool servers at this machine: `wick mcp` comes here.

Whether a server does it or the command itself, when none runs, is the same to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from app.db import users
from app.db.connection import Database
from app.db.mcp_servers import McpAccess, McpServer
from app.errors import UserNotFound
from app.tools.mcp.config import McpServerValues
from app.tools.mcp.servers import McpServers, offers_from

MCP_OPERATIONS: Final = {
    "mcp-list": "list_all",
    "mcp-add": "add",
    "mcp-change": "change",
    "mcp-remove": "remove",
    "mcp-test": "test",
}
"""Names in the address of a request, and the methods of McpAdmin that they stand for."""


class McpServerReport(msgspec.Struct, frozen=True):
    """A tool server without its secrets. tools: by their names and titles; notes: what was left
    out of its offers; last_words: the end of its standard error."""

    name: str
    target: str
    access: McpAccess
    users: list[str]
    is_on: bool
    tools: list[tuple[str, str]]
    resources: int
    prompts: int
    notes: list[str]
    error: str
    last_words: str
    checked_at: float | None


class McpAdmin:
    """Servers are given by name. Raises ToolServerNotFound for one that there is not."""

    def __init__(self, servers: McpServers, db: Database) -> None:
        self._servers = servers
        self._db = db

    async def list_all(self) -> list[McpServerReport]:
        """List all servers by name."""
        return [await self._report(server) for server in await self._servers.list_all()]

    async def add(
        self, name: str, target: str, secrets: dict[str, str], access: str, names: Sequence[str]
    ) -> McpServerReport:
        """Add a server; `names` are those of the members who may use it.

        Raises InvalidToolServer or UserNotFound.
        """
        chosen = [await self._user_id(one) for one in names]
        server = await self._servers.add(McpServerValues(name, target, secrets, access))
        await self._servers.set_access(server.id, server.access, chosen)
        return await self._report(server)

    async def change(self, name: str, target: str, secrets: dict[str, str]) -> McpServerReport:
        """Change a server's command or address, an empty one not, and those of its secrets that are
        given. Raises InvalidToolServer."""
        server = await self._servers.get_by_name(name)
        changed = await self._servers.change(server.id, target or server.target, secrets)
        return await self._report(changed)

    async def remove(self, name: str) -> None:
        """Forget a server."""
        await self._servers.remove((await self._servers.get_by_name(name)).id)

    async def test(self, name: str) -> McpServerReport:
        """Connect to a server and ask what it offers. Raises ToolsNotSetUp."""
        server = await self._servers.get_by_name(name)
        return await self._report(await self._servers.test(server.id))

    async def _user_id(self, name: str) -> int:
        for user in await users.list_users(self._db):
            if user.name.casefold() == name.strip().casefold():
                return user.id
        raise UserNotFound(f"There is no user named “{name[:60]}”.")

    async def _report(self, server: McpServer) -> McpServerReport:
        offers = offers_from(server.offers)
        chosen = (await self._servers.chosen_users()).get(server.id, set())
        there = {user.id: user.name for user in await users.list_users(self._db)}
        return McpServerReport(
            server.name,
            server.target,
            server.access,
            sorted(there[user_id] for user_id in chosen if user_id in there),
            server.is_on,
            [(tool.name, tool.title) for tool in offers.tools],
            len(offers.resources),
            len(offers.prompts),
            list(offers.notes),
            server.error,
            server.last_words,
            server.checked_at,
        )
