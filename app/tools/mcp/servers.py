"""The MCP servers of this Wick: who may use them, what they offer, and connections to them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import aiosqlite
import msgspec

from app.audit import audit
from app.background import BackgroundTasks
from app.config import Settings
from app.db import mcp_servers
from app.db.connection import Database
from app.db.mcp_servers import McpAccess, McpServer
from app.errors import (
    InvalidToolServer,
    ToolServerFailed,
    ToolServerNotFound,
    ToolsNotSetUp,
)
from app.temp_folders import scratch
from app.tools.mcp.config import McpServerValues, check_values, endpoint_of, merge_secrets
from app.tools.mcp.process import Command, McpProcess
from app.tools.mcp.protocol import Listed, ListOffers, McpResult, Offers

log = logging.getLogger(__name__)
MAX_SERVERS: Final = 32
IDLE_SECONDS: Final = 300.0
"""After which a connection that nobody uses is ended: each takes some 70 MB."""
CHECK_SECONDS: Final = 15.0
LIST_SECONDS: Final = 60.0
CLOSE_SECONDS: Final = 1.0
MAX_CALLS_PER_SERVER: Final = 8
MAX_CALLS_PER_USER: Final = 4
FOLDER_PREFIX: Final = "wick-tools-"


@lru_cache(maxsize=MAX_SERVERS)
def offers_from(text: str) -> Offers:
    """Decode what a server offered; nothing where it was never asked, or by another version."""
    try:
        return msgspec.json.decode(text, type=Offers) if text else Offers()
    except msgspec.DecodeError:
        return Offers()


class _Connection:
    """The connection to one server, made when it is needed. used_at: when it was used last."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.turns = asyncio.Semaphore(MAX_CALLS_PER_SERVER)
        self.process: McpProcess | None = None
        self.used_at = 0.0

    def take(self) -> McpProcess | None:
        """Give up the process: the next one who needs it gets another."""
        process, self.process = self.process, None
        return process


class McpServers:
    """Servers by id. Programs run in folders of their own, which go with this process."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings = settings
        self._db = db
        self._connections: dict[int, _Connection] = {}
        self._calls: Counter[int] = Counter()
        self._folders = ExitStack()
        self._folder: Path | None = None
        self._is_closed = False
        self._tasks = BackgroundTasks()
        self._tests: dict[int, asyncio.Task[McpServer]] = {}

    @property
    def is_set_up(self) -> bool:
        """Tell whether what speaks MCP is installed."""
        importlib.invalidate_caches()
        return importlib.util.find_spec("mcp") is not None

    async def list_all(self) -> list[McpServer]:
        """List all servers, for owners."""
        return await mcp_servers.list_all(self._db)

    async def usable(self, user_id: int) -> list[McpServer]:
        """List the servers that a user may use."""
        return await mcp_servers.usable(self._db, user_id)

    async def chosen_users(self) -> dict[int, set[int]]:
        """Return whom owners have chosen, by server."""
        return await mcp_servers.users_of(self._db)

    async def get(self, server_id: int) -> McpServer:
        """Raises ToolServerNotFound."""
        found = await mcp_servers.get(self._db, server_id)
        if found is None:
            raise ToolServerNotFound("There is no such tool server.")
        return found

    async def get_by_name(self, name: str) -> McpServer:
        """Raises ToolServerNotFound."""
        for server in await self.list_all():
            if server.name == name.strip().lower():
                return server
        raise ToolServerNotFound(f"There is no tool server named “{name[:60]}”.")

    def is_running(self, server_id: int) -> bool:
        """Tell whether there is a connection now."""
        found = self._connections.get(server_id)
        return found is not None and found.process is not None and found.process.is_alive

    async def add(self, values: McpServerValues) -> McpServer:
        """Raises InvalidToolServer."""
        checked = check_values(values)

        async def save(connection: aiosqlite.Connection) -> int | None:
            if await mcp_servers.count(connection) >= MAX_SERVERS:
                raise InvalidToolServer(
                    {"name": f"There are {MAX_SERVERS} tool servers. Remove one first."}
                )
            return await mcp_servers.add(
                connection,
                checked.name,
                checked.command,
                checked.arguments,
                checked.url,
                checked.secrets,
                checked.access,
                time.time(),
            )

        added = await self._db.write(save)
        if added is None:
            raise InvalidToolServer(
                {"name": f"There is a tool server named {checked.name} already."}
            )
        audit("tool-server-added", server=added)
        return await self.get(added)

    async def change(self, server_id: int, target: str, secrets: Mapping[str, str]) -> McpServer:
        """Set a server's command or address, and those of its secrets that are given; what runs on
        it ends.

        Raises ToolServerNotFound or InvalidToolServer.
        """
        before = await self.get(server_id)
        given = McpServerValues(before.name, target, secrets, before.access)
        checked = check_values(replace(given, secrets=merge_secrets(before, given)))
        changed = checked.command, checked.arguments, checked.url, checked.secrets
        await self._db.write(lambda c: mcp_servers.set_target(c, server_id, *changed))
        await self._disconnect(server_id)
        audit("tool-server-changed", server=server_id)
        return await self.get(server_id)

    async def set_access(
        self, server_id: int, access: McpAccess, user_ids: Collection[int] = ()
    ) -> None:
        """Set who may use a server. Raises ToolServerNotFound."""
        await self.get(server_id)
        await self._db.write(lambda c: mcp_servers.set_access(c, server_id, access, user_ids))
        audit("tool-server-access", server=server_id)

    async def switch(self, server_id: int, *, is_on: bool) -> None:
        """Switch a server on, or off with all that runs on it. Raises ToolServerNotFound."""
        await self.get(server_id)
        await self._db.write(lambda c: mcp_servers.switch(c, server_id, is_on=is_on))
        if not is_on:
            await self._disconnect(server_id)

    async def remove(self, server_id: int) -> None:
        """Forget a server, and end what runs on it. Raises ToolServerNotFound."""
        await self.get(server_id)
        await self._db.write(lambda c: mcp_servers.remove(c, server_id))
        await self._disconnect(server_id)
        self._connections.pop(server_id, None)
        audit("tool-server-removed", server=server_id)

    async def test(self, server_id: int) -> McpServer:
        """Connect anew, ask what it offers, and keep that, or why it failed.

        Raises ToolServerNotFound or ToolsNotSetUp.
        """
        server = await self.get(server_id)
        self.ensure_set_up()
        await self._disconnect(server_id)
        with contextlib.suppress(ToolServerFailed):  # it is kept
            await self._connected(server)
        return await self.get(server_id)

    def start_test(self, server_id: int) -> None:
        """Test a server in a task of its own; a second one joins it."""
        if not self.is_testing(server_id):
            work = self.test(server_id)
            self._tests[server_id] = self._tasks.spawn(work, f"test of tool server {server_id}")

    def is_testing(self, server_id: int) -> bool:
        """Tell whether a server is being tested by `start_test`."""
        task = self._tests.get(server_id)
        return task is not None and not task.done()

    async def request(self, server: McpServer, user_id: int, command: Command) -> McpResult:
        """Carry out a command for a user who may use this server, within WICK_MCP_TIMEOUT.

        Raises ToolServerFailed or ToolsNotSetUp.
        """
        self.ensure_set_up()
        with self._counted(user_id):
            connection = self._connections.setdefault(server.id, _Connection())
            async with connection.turns:
                return await self._answer(server, connection, command)

    async def _answer(
        self, server: McpServer, connection: _Connection, command: Command
    ) -> McpResult:
        process = await self._connected(server)
        seconds = self._settings.mcp_timeout
        try:
            return await process.request(command, seconds)
        except TimeoutError:
            # It may hang for good. Others' calls may still end; the next one starts anew.
            if connection.process is process:
                connection.process = None
            if not process.is_busy:
                await process.kill()
            raise ToolServerFailed(f"It took more than {seconds:.0f} seconds.") from None
        finally:
            connection.used_at = time.monotonic()
            if connection.process is not process and not process.is_busy:
                await process.kill()

    async def _connected(self, server: McpServer) -> McpProcess:
        """Return the connection, made now where there is none. Raises ToolServerFailed."""
        connection = self._connections.setdefault(server.id, _Connection())
        async with connection.lock:
            if connection.process is not None and connection.process.is_alive:
                return connection.process
            if self._is_closed:
                raise ToolServerFailed("Wick is stopping.")
            try:
                connection.process = await self._connect(server)
            except ToolServerFailed as error:
                sentence, words = str(error), error.last_words
                log.info("The tool server %s cannot be used: %s", server.name, sentence)
                await self._db.write(
                    lambda c: mcp_servers.set_error(c, server.id, sentence, words, time.time())
                )
                raise
            connection.used_at = time.monotonic()
            return connection.process

    async def _connect(self, server: McpServer) -> McpProcess:
        """Connect, and keep what it offers."""
        folder = await asyncio.to_thread(self._folder_of, server)
        process = await McpProcess.start(server.name, endpoint_of(server, folder))
        try:
            listed = await process.request(ListOffers, LIST_SECONDS)
        except TimeoutError:
            await process.kill()
            raise ToolServerFailed(
                f"It did not list its tools within {LIST_SECONDS:.0f} seconds.", process.last_words
            ) from None
        except BaseException:
            await process.kill()
            raise
        assert isinstance(listed, Listed)  # noqa: S101 - it answers what was asked
        offers = msgspec.json.encode(listed.offers).decode()
        await self._db.write(lambda c: mcp_servers.set_offers(c, server.id, offers, time.time()))
        return process

    def _folder_of(self, server: McpServer) -> Path:
        if self._folder is None:
            self._folder = self._folders.enter_context(scratch(FOLDER_PREFIX))
        folder = self._folder / server.name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def _counted(self, user_id: int) -> Iterator[None]:
        if self._calls[user_id] >= MAX_CALLS_PER_USER:
            raise ToolServerFailed(
                f"You have {MAX_CALLS_PER_USER} tools running. Wait for one to end."
            )
        self._calls[user_id] += 1
        try:
            yield
        finally:
            self._calls[user_id] -= 1
            if not self._calls[user_id]:
                del self._calls[user_id]

    def ensure_set_up(self) -> None:
        """Raises ToolsNotSetUp."""
        if not self.is_set_up:
            raise ToolsNotSetUp(
                "MCP is not set up here. The owner can set it up on the page Tools, "
                "or by: pip install 'wick[mcp]'"
            )

    async def run(self) -> None:
        """End connections that nobody uses, for ever."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.end_idle(time.monotonic() - IDLE_SECONDS)

    async def end_idle(self, since: float) -> None:
        """End connections that were not used since then."""
        for server_id, connection in list(self._connections.items()):
            process = connection.process
            if process is None or connection.lock.locked():
                continue
            if not process.is_alive or (not process.is_busy and connection.used_at < since):
                await self._disconnect(server_id)

    async def close(self) -> None:
        """End all connections; calls that run fail."""
        self._is_closed = True
        for task in self._tests.values():
            task.cancel()
        await self._tasks.drain(CLOSE_SECONDS)
        await asyncio.gather(*map(self._disconnect, list(self._connections)))
        await asyncio.to_thread(self._folders.close)

    async def _disconnect(self, server_id: int) -> None:
        connection = self._connections.get(server_id)
        process = None if connection is None else connection.take()
        if process is not None:
            await process.kill()
