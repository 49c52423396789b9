"""Tables of MCP servers and of the members who may use them. Servers belong to no user."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database

McpAccess = Literal["everyone", "owners", "chosen"]


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server: a program, or else an address.

    secrets: variables of its environment, or headers; offers: as JSON, empty where it was never
    asked; error: why it could not be asked.
    """

    id: int
    name: str
    command: str
    arguments: tuple[str, ...]
    url: str
    secrets: dict[str, str] = field(repr=False)
    access: McpAccess
    is_on: bool
    offers: str = field(repr=False)
    error: str
    last_words: str = field(repr=False)
    checked_at: float | None

    @property
    def target(self) -> str:
        """The command line, or the address."""
        return self.url or shlex.join((self.command, *self.arguments))


def _server(row: sqlite3.Row) -> McpServer:
    return McpServer(
        row["id"],
        row["name"],
        row["command"],
        tuple(json.loads(row["arguments"])),
        row["url"],
        json.loads(row["secrets"]),
        row["access"],
        bool(row["is_on"]),
        row["offers"],
        row["error"],
        row["last_words"],
        row["checked_at"],
    )


async def list_all(db: Database) -> list[McpServer]:
    """List all servers by name."""
    return [_server(row) for row in await db.fetch_all("SELECT * FROM mcp_servers ORDER BY name")]


async def get(db: Database, server_id: int) -> McpServer | None:
    row = await db.fetch_one("SELECT * FROM mcp_servers WHERE id = ?", (server_id,))
    return None if row is None else _server(row)


async def usable(db: Database, user_id: int) -> list[McpServer]:
    """List the servers that a user may use and that are on, by name."""
    rows = await db.fetch_all(
        "SELECT * FROM mcp_servers WHERE is_on AND (access = 'everyone'"
        " OR EXISTS (SELECT 1 FROM users WHERE id = ? AND role = 'owner')"
        " OR access = 'chosen' AND EXISTS (SELECT 1 FROM mcp_server_users"
        " WHERE server_id = mcp_servers.id AND user_id = ?)) ORDER BY name",
        (user_id, user_id),
    )
    return [_server(row) for row in rows]


async def count(connection: aiosqlite.Connection) -> int:
    """Count all servers within a transaction."""
    async with connection.execute("SELECT count(*) FROM mcp_servers") as cursor:
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def add(
    connection: aiosqlite.Connection,
    name: str,
    command: str,
    arguments: Collection[str],
    url: str,
    secrets: dict[str, str],
    access: McpAccess,
    now: float,
) -> int | None:
    """Add a server and return its id; None when its name is taken."""
    cursor = await connection.execute(
        "INSERT INTO mcp_servers (name, command, arguments, url, secrets, access, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        (name, command, json.dumps(list(arguments)), url, json.dumps(secrets), access, now),
    )
    return cursor.lastrowid if cursor.rowcount == 1 else None


async def set_target(
    connection: aiosqlite.Connection,
    server_id: int,
    command: str,
    arguments: Collection[str],
    url: str,
    secrets: dict[str, str],
) -> None:
    """Set what a server is; what it offered, and how it was when it was tested, counts no more."""
    await connection.execute(
        "UPDATE mcp_servers SET command = ?, arguments = ?, url = ?, secrets = ?, offers = '',"
        " error = '', last_words = '', checked_at = NULL WHERE id = ?",
        (command, json.dumps(list(arguments)), url, json.dumps(secrets), server_id),
    )


async def set_access(
    connection: aiosqlite.Connection, server_id: int, access: McpAccess, user_ids: Collection[int]
) -> None:
    """Set who may use a server: `user_ids` of those who were chosen."""
    await connection.execute("UPDATE mcp_servers SET access = ? WHERE id = ?", (access, server_id))
    await connection.execute("DELETE FROM mcp_server_users WHERE server_id = ?", (server_id,))
    await connection.executemany(
        "INSERT INTO mcp_server_users (server_id, user_id)"
        " SELECT ?, id FROM users WHERE id = ? AND EXISTS"
        " (SELECT 1 FROM mcp_servers WHERE id = ?)",
        [(server_id, user_id, server_id) for user_id in dict.fromkeys(user_ids)],
    )


async def users_of(db: Database) -> dict[int, set[int]]:
    """Return the chosen users of each server."""
    found: dict[int, set[int]] = {}
    for row in await db.fetch_all("SELECT server_id, user_id FROM mcp_server_users"):
        found.setdefault(row["server_id"], set()).add(row["user_id"])
    return found


async def switch(connection: aiosqlite.Connection, server_id: int, *, is_on: bool) -> None:
    """Switch a server on or off."""
    await connection.execute("UPDATE mcp_servers SET is_on = ? WHERE id = ?", (is_on, server_id))


async def set_offers(
    connection: aiosqlite.Connection, server_id: int, offers: str, now: float
) -> None:
    """Keep what a server offers."""
    await connection.execute(
        "UPDATE mcp_servers SET offers = ?, error = '', last_words = '', checked_at = ?"
        " WHERE id = ?",
        (offers, now, server_id),
    )


async def set_error(
    connection: aiosqlite.Connection, server_id: int, error: str, last_words: str, now: float
) -> None:
    """Keep why a server could not be asked. What it offered before stays."""
    await connection.execute(
        "UPDATE mcp_servers SET error = ?, last_words = ?, checked_at = ? WHERE id = ?",
        (error, last_words, now, server_id),
    )


async def remove(connection: aiosqlite.Connection, server_id: int) -> bool:
    """Delete a server; return whether there was one."""
    cursor = await connection.execute("DELETE FROM mcp_servers WHERE id = ?", (server_id,))
    return cursor.rowcount == 1
