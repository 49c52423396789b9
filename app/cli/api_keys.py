"""`wick key`: create, list and revoke API keys; a running server knows of it at once."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.table import Table

from app.accounts.api_keys import SCOPES
from app.cli.account_admin import AnyAccountAdmin, open_account_admin
from app.config import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("key")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    action = actions.add_parser("add", help="create a key; it is shown once")
    action.add_argument("name", metavar="NAME", help="what the key is for")
    action.add_argument(
        "--scope",
        action="append",
        choices=list(SCOPES),
        help="permission of the key (repeatable; default: chat)",
    )
    _add_user_argument(action)
    action.set_defaults(func=add_key)

    action = actions.add_parser("list", help="list keys")
    _add_user_argument(action)
    action.set_defaults(func=list_keys)

    action = actions.add_parser("revoke", help="revoke a key")
    action.add_argument("id", metavar="ID", type=int, help="its number in the list")
    _add_user_argument(action)
    action.set_defaults(func=revoke_key)


def add_key(args: argparse.Namespace, settings: Settings) -> int:
    async def add(admin: AnyAccountAdmin) -> None:
        print(await admin.create_key(args.user, args.name, args.scope or ["chat"]))

    return _run(settings, add)


def list_keys(args: argparse.Namespace, settings: Settings) -> int:
    async def show(admin: AnyAccountAdmin) -> None:
        table = Table(box=None)
        for heading in ("id", "name", "begins with", "may", "made", "last used"):
            table.add_column(heading, overflow="fold", no_wrap=heading not in {"name", "may"})
        for key in await admin.list_keys(args.user):
            used = _day(key.used_at) if key.used_at else "never"
            may = ", ".join(key.scopes)
            table.add_row(str(key.id), key.name, key.hint, may, _day(key.created_at), used)
        if table.row_count:
            Console().print(table)
        else:
            print("No keys yet. Create one: wick key add NAME")

    return _run(settings, show)


def revoke_key(args: argparse.Namespace, settings: Settings) -> int:
    async def revoke(admin: AnyAccountAdmin) -> None:
        await admin.revoke_key(args.user, args.id)
        print("The key is revoked.")

    return _run(settings, revoke)


def _add_user_argument(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--user", metavar="NAME", help="owner of the key (default: the first owner)"
    )


def _run(settings: Settings, work: Callable[[AnyAccountAdmin], Awaitable[None]]) -> int:
    async def run() -> None:
        async with open_account_admin(settings, "wick key") as admin:
            await work(admin)

    asyncio.run(run())
    return 0


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
