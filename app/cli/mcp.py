"""`wick mcp`: tool servers of this Wick, whether it runs or not."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Final, TypeVar, get_args

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app import audit
from app.config import Settings, read_secret
from app.db.connection import open_database
from app.db.mcp_servers import McpAccess
from app.errors import InvalidToolServer
from app.local_server import acquire_or_discover, client_options, send_command
from app.tools.mcp.admin import McpAdmin, McpServerReport
from app.tools.mcp.servers import McpServers

T = TypeVar("T")
TIMEOUT_SECONDS: Final = 300.0
"""A program that is started for the first time may have to be downloaded."""
FAILED: Final = 1
WHO: Final = {"everyone": "everyone", "owners": "owners", "chosen": "owners and"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("mcp")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_adding(actions)
    _add_changing(actions)
    action = actions.add_parser("list", help="list tool servers")
    action.set_defaults(func=lambda arguments, settings: _run(settings, list_servers))
    action = actions.add_parser("test", help="connect to a tool server and list its tools")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(
        func=lambda arguments, settings: _run(settings, lambda a: test(a, arguments.name))
    )
    action = actions.add_parser("remove", help="remove a tool server")
    action.add_argument("name", metavar="NAME")
    action.set_defaults(
        func=lambda arguments, settings: _run(settings, lambda a: remove(a, arguments.name))
    )


def _add_adding(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "add",
        help="add a tool server",
        epilog="Options come before NAME: wick mcp add --env API_KEY notes npx -y a-server",
    )
    action.add_argument(
        *("--env", "--header"),
        dest="secrets",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="variable for the program, or header for the address; without VALUE it is taken from"
        " the environment (repeatable)",
    )
    action.add_argument(
        "--access",
        choices=get_args(McpAccess),
        default="owners",
        help="who may use its tools (default: owners)",
    )
    action.add_argument(
        "--user",
        action="append",
        default=[],
        dest="users",
        metavar="USER",
        help="a member who may use its tools (repeatable; implies --access chosen)",
    )
    action.add_argument("name", metavar="NAME", help="begins the names of its tools")
    action.add_argument(
        "target", metavar="COMMAND|URL", nargs=argparse.REMAINDER, help="what starts it, or where"
    )
    action.set_defaults(
        func=lambda arguments, settings: _run(settings, lambda a: add(a, arguments))
    )


def _add_changing(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "change",
        help="change a tool server's command, address or secrets",
        epilog="Options come before NAME. NAME alone keeps the command, and others keep theirs.",
    )
    action.add_argument(
        *("--env", "--header"),
        dest="secrets",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="variable or header to set; NAME= removes it (repeatable)",
    )
    action.add_argument("name", metavar="NAME")
    action.add_argument("target", metavar="COMMAND|URL", nargs=argparse.REMAINDER)
    action.set_defaults(
        func=lambda arguments, settings: _run(settings, lambda a: change(a, arguments))
    )


async def change(admin: AnyMcpAdmin, arguments: argparse.Namespace) -> int:
    secrets = dict(_secret(given) for given in arguments.secrets)
    changed = await admin.change(arguments.name, _target(arguments.target), secrets)
    print(f"Changed {changed.name}. Test it: wick mcp test {changed.name}")
    return 0


def _target(given: Sequence[str]) -> str:
    words = [word for word in given if word != "--"]
    return words[0] if len(words) == 1 else shlex.join(words)


async def add(admin: AnyMcpAdmin, arguments: argparse.Namespace) -> int:
    access = "chosen" if arguments.users else arguments.access
    secrets = dict(_secret(given) for given in arguments.secrets)
    target = _target(arguments.target)
    added = await admin.add(arguments.name, target, secrets, access, arguments.users)
    print(f"Added {added.name}. Test it: wick mcp test {added.name}")
    return 0


def _secret(given: str) -> tuple[str, str]:
    name, separator, value = given.partition("=")
    if separator:
        return name, value
    found = read_secret(name, dotenv=None)
    if not found:
        raise InvalidToolServer({"secrets": f"{name} is not set in the environment."})
    return name, found


async def list_servers(admin: AnyMcpAdmin) -> int:
    servers = await admin.list_all()
    if not servers:
        print("No tool servers yet. Add one: wick mcp add NAME COMMAND or URL")
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "STATE", "FOR", "COMMAND OR ADDRESS"):
        table.add_column(heading, overflow="fold")
    for server in servers:
        cells = (server.name, _state(server), _who(server), server.target)
        table.add_row(*map(escape, cells))
    Console().print(table)
    return 0


def _state(server: McpServerReport) -> str:
    if not server.is_on:
        return "off"
    if server.checked_at is None:
        return "not tested"
    if server.error:
        return f"failed: {server.error}"
    day = time.strftime("%Y-%m-%d", time.localtime(server.checked_at))
    return f"{len(server.tools)} tools (tested {day})"


def _who(server: McpServerReport) -> str:
    return " ".join([WHO[server.access], ", ".join(server.users)]).strip()


async def test(admin: AnyMcpAdmin, name: str) -> int:
    server = await admin.test(name)
    if server.error:
        print(f"{server.name} failed: {server.error}")
        if server.last_words:
            print(f"\nIts last words:\n{_printable(server.last_words)}")
        return FAILED
    print(
        f"{server.name} works: {len(server.tools)} tools, {server.resources} resources,"
        f" {server.prompts} prompts."
    )
    for tool, title in server.tools:
        print(f"  {_printable(tool)}" + (f"  ({_printable(title)})" if title != tool else ""))
    for note in server.notes:
        print(_printable(note))
    return 0


def _printable(text: str) -> str:
    """Leave out what a terminal would take for commands."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


async def remove(admin: AnyMcpAdmin, name: str) -> int:
    await admin.remove(name)
    print(f"Removed {name}.")
    return 0


def _run(settings: Settings, work: Callable[[AnyMcpAdmin], Awaitable[int]]) -> int:
    async def run() -> int:
        async with open_mcp_admin(settings) as admin:
            return await work(admin)

    return asyncio.run(run())


@asynccontextmanager
async def open_mcp_admin(settings: Settings) -> AsyncIterator[AnyMcpAdmin]:
    """Open the admin of tool servers: the running server's, or else one in this process.

    Raises DataFolderInUse while a `wick chat` works alone on the data folder.
    """
    async with AsyncExitStack() as stack:
        own = stack.enter_context(ExitStack())
        owner = await acquire_or_discover(settings.data_dir, "wick mcp", own)
        if owner is not None:
            options = client_options(settings, owner.url, owner.secret)
            client = httpx.AsyncClient(**options, timeout=TIMEOUT_SECONDS)
            yield RemoteMcpAdmin(await stack.enter_async_context(client))
            return
        stack.enter_context(audit.write_audit_file(settings.data_dir))
        db = await stack.enter_async_context(
            open_database(settings.database, settings.upgrade_copies_kept)
        )
        servers = McpServers(settings, db)
        stack.push_async_callback(servers.close)
        yield McpAdmin(servers, db)


class RemoteMcpAdmin:
    """McpAdmin whose work the server does; raises PeerError with what it refuses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def list_all(self) -> list[McpServerReport]:
        return await self._request(list[McpServerReport], "mcp-list")

    async def add(
        self, name: str, target: str, secrets: dict[str, str], access: str, names: Sequence[str]
    ) -> McpServerReport:
        return await self._request(
            McpServerReport,
            "mcp-add",
            name=name,
            target=target,
            secrets=secrets,
            access=access,
            names=list(names),
        )

    async def change(self, name: str, target: str, secrets: dict[str, str]) -> McpServerReport:
        return await self._request(
            McpServerReport, "mcp-change", name=name, target=target, secrets=secrets
        )

    async def remove(self, name: str) -> None:
        await self._request(type(None), "mcp-remove", name=name)

    async def test(self, name: str) -> McpServerReport:
        return await self._request(McpServerReport, "mcp-test", name=name)

    async def _request(self, kind: type[T], verb: str, **arguments: object) -> T:
        return await send_command(self._client, kind, verb, arguments)


AnyMcpAdmin = McpAdmin | RemoteMcpAdmin
