"""MCP servers of a Wick: who may use them, and tools of real ones for chats."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiosqlite
import msgspec
import pytest

from app.config import Settings
from app.db import mcp_servers
from app.db.connection import Database, open_database
from app.db.mcp_servers import McpServer
from app.errors import InvalidToolServer, ToolServerFailed, ToolServerNotFound
from app.tools.mcp.config import McpServerValues
from app.tools.mcp.protocol import McpTool, Offers
from app.tools.mcp.servers import MAX_CALLS_PER_USER, McpServers, offers_from
from app.tools.mcp.source import McpSource
from app.tools.tool import ToolContext, ToolResult
from tests.patience import PATIENCE, until

HERE = Path(__file__).parent
OWNER, MEMBER, OTHER = 1, 2, 3
SAMPLE = shlex.join([sys.executable, str(HERE / "sample_server.py")])
BAD = shlex.join([sys.executable, str(HERE / "bad_server.py")])


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:

        async def furnish(connection: aiosqlite.Connection) -> None:
            for user in (MEMBER, OTHER):
                await connection.execute(
                    "INSERT INTO users (id, name, created_at) VALUES (?, ?, 1)", (user, f"u{user}")
                )

        await database.write(furnish)
        yield database


@pytest.fixture
async def servers(db: Database, tmp_path: Path) -> AsyncIterator[McpServers]:
    found = McpServers(Settings(data_dir=tmp_path, mcp_timeout=PATIENCE), db)
    yield found
    await found.close()


async def keep_offers(db: Database, server: McpServer, *names: str) -> None:
    tools = tuple(McpTool(name, name, "", {"type": "object"}) for name in names)
    text = msgspec.json.encode(Offers(tools)).decode()
    await db.write(lambda c: mcp_servers.set_offers(c, server.id, text, 1.0))


def context(user_id: int) -> ToolContext:
    return ToolContext(user_id, "0" * 16)


async def names_for(servers: McpServers, user_id: int) -> list[str]:
    return [tool.spec.name for tool in await McpSource(servers).tools(context(user_id))]


async def test_members_use_what_owners_allow(db: Database, servers: McpServers) -> None:
    server = await servers.add(McpServerValues("notes", "true"))
    await keep_offers(db, server, "read", "wr.ite")
    names = ["notes__read", "notes__wr_ite"]
    assert await names_for(servers, OWNER) == names
    assert await names_for(servers, MEMBER) == []
    await servers.set_access(server.id, "chosen", [MEMBER, 99])
    assert await servers.chosen_users() == {server.id: {MEMBER}}
    assert await names_for(servers, MEMBER) == names
    assert await names_for(servers, OTHER) == []
    refused = await McpSource(servers).call(context(OTHER), "notes__read", {})
    assert refused == ToolResult("There is no tool named “notes__read”.", is_error=True)
    await servers.set_access(server.id, "everyone")
    assert await names_for(servers, OTHER) == names
    await servers.switch(server.id, is_on=False)
    assert await names_for(servers, OWNER) == []


async def test_servers_are_added_once_and_forgotten(servers: McpServers) -> None:
    server = await servers.add(McpServerValues("notes", "true", {"KEY": "secret"}))
    assert "secret" not in repr(server)
    with pytest.raises(InvalidToolServer, match="There is a tool server named notes already"):
        await servers.add(McpServerValues("Notes", "false"))
    assert await servers.get_by_name("NOTES") == server
    await servers.remove(server.id)
    with pytest.raises(ToolServerNotFound):
        await servers.remove(server.id)
    assert await servers.list_all() == []


async def test_a_server_is_changed_with_the_secrets_that_are_given(servers: McpServers) -> None:
    server = await servers.add(McpServerValues("notes", "true a", {"KEY": "1", "OLD": "2"}))
    await keep_offers(servers._db, server, "read")
    server = await servers.change(server.id, "true b", {"KEY": "3", "OLD": "", "NEW": "4"})
    assert (server.target, server.secrets) == ("true b", {"KEY": "3", "NEW": "4"})
    assert (server.offers, server.checked_at) == ("", None)
    with pytest.raises(InvalidToolServer, match="quotation mark"):
        await servers.change(server.id, "'", {})
    server = await servers.change(server.id, "https://notes.example/mcp", {"X-Key": "5"})
    assert (server.command, server.secrets) == ("", {"X-Key": "5"})
    with pytest.raises(ToolServerNotFound):
        await servers.change(99, "true", {})


async def test_a_change_ends_what_runs(servers: McpServers) -> None:
    server = await servers.add(McpServerValues("sample", SAMPLE, {"FOX": "red"}))
    await servers.test(server.id)
    call = asyncio.create_task(McpSource(servers).call(context(OWNER), "sample__wait", {}))
    await until(lambda: servers._calls[OWNER] == 1)
    await servers.change(server.id, SAMPLE, {"FOX": "grey"})
    assert (await call).is_error
    assert not servers.is_running(server.id)
    await servers.test(server.id)
    named = {"name": "FOX"}
    found = await McpSource(servers).call(context(OWNER), "sample__environment", named)
    assert found == ToolResult("grey")


def test_offers_of_another_version_are_none() -> None:
    assert offers_from('{"tools": 5}') == Offers()


async def test_a_chat_uses_a_tool_until_its_server_is_removed(servers: McpServers) -> None:
    server = await servers.add(McpServerValues("sample", SAMPLE, {"FOX": "red"}))
    source = McpSource(servers)
    assert await source.tools(context(OWNER)) == []
    server = await servers.test(server.id)
    assert (server.error, offers_from(server.offers).notes) == ("", ())
    tools = {tool.spec.name: tool for tool in await source.tools(context(OWNER))}
    add = tools["sample__add"]
    assert (add.title, add.source, add.asks) == ("Add numbers", "sample", True)
    assert json.loads(add.spec.parameters)["required"] == ["a", "b"]
    assert await source.call(context(OWNER), "sample__add", {"a": 2, "b": 3}) == ToolResult("5")
    named = {"name": "FOX"}
    assert await source.call(context(OWNER), "sample__environment", named) == ToolResult("red")
    folder = Path((await source.call(context(OWNER), "sample__folder", {})).text)
    assert folder.is_dir()
    assert folder.name == "sample"
    died = await source.call(context(OWNER), "sample__die", {})
    assert died == ToolResult("The tool server sample failed. It ended (exit code 7).", True)
    assert await source.call(context(OWNER), "sample__add", {"a": 1, "b": 1}) == ToolResult("2")
    # Calls of one user are bounded, and wait for nobody when they are too many.
    waiting = [
        asyncio.create_task(source.call(context(OWNER), "sample__wait", {}))
        for _ in range(MAX_CALLS_PER_USER)
    ]
    await until(lambda: servers._calls[OWNER] == MAX_CALLS_PER_USER)
    more = await source.call(context(OWNER), "sample__add", {"a": 1, "b": 1})
    assert "You have 4 tools running" in more.text
    await servers.end_idle(time.monotonic())  # it is busy
    assert servers.is_running(server.id)
    await servers.remove(server.id)
    assert {(await task).is_error for task in waiting} == {True}
    assert not servers._calls
    assert not servers.is_running(server.id)
    await servers.close()
    assert not folder.exists()


async def test_a_server_that_hangs_is_started_anew(servers: McpServers) -> None:
    server = await servers.add(McpServerValues("bad", BAD))
    await servers.test(server.id)
    servers._settings = replace(servers._settings, mcp_timeout=1.0)
    source = McpSource(servers)
    await keep_offers(servers._db, server, "run", "hang")
    hung = await source.call(context(OWNER), "bad__hang", {})
    assert hung == ToolResult("The tool server bad failed. It took more than 1 seconds.", True)
    assert not servers.is_running(server.id)
    servers._settings = replace(servers._settings, mcp_timeout=PATIENCE)
    await keep_offers(servers._db, server, "run")
    assert "ran in" in (await source.call(context(OWNER), "bad__run", {})).text
    await servers.end_idle(time.monotonic() + 1)
    assert not servers.is_running(server.id)


async def test_a_failed_test_keeps_the_reason_and_the_last_offers(
    db: Database, servers: McpServers
) -> None:
    server = await servers.add(McpServerValues("dead", f"{BAD} dead"))
    await keep_offers(db, server, "run")
    server = await servers.test(server.id)
    assert server.error == "It ended (exit code 1)."
    assert "no module named fox" in server.last_words
    assert server.offers
    with pytest.raises(ToolServerFailed):
        await servers._connected(server)
