"""`wick user`: the accounts of this Wick, whether it runs or not."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from rich.console import Console
from rich.table import Table

from app.cli.account_admin import AnyAccountAdmin, open_account_admin
from app.cli.serve import join_url
from app.config import Settings
from app.db.users import LOCAL_USER, Role, User
from app.errors import InvalidAccount

LINK_LIFETIME: Final = {"member": "a week", "reset": "a day"}
Action = Callable[[AnyAccountAdmin, argparse.Namespace, Settings], Awaitable[None]]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("user")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add(actions, "list", "list users", list_users, named=False)
    action = _add(actions, "add", "add a user; asks for the password", add)
    action.add_argument("--owner", action="store_true", help="make the user an owner, not a member")
    action = _add(actions, "invite", "create an invite link", invite, named=False)
    action.add_argument("--owner", action="store_true", help="make the user an owner, not a member")
    action = _add(actions, "passwd", "change a user's password", passwd)
    action.add_argument("--link", action="store_true", help="print a password reset link instead")
    _add(actions, "disable", "block a user; keep their chats", disable)
    _add(actions, "enable", "unblock a user", enable)
    action = _add(actions, "remove", "delete a user and all of their chats permanently", remove)
    action.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help_: str,
    action: Action,
    *,
    named: bool = True,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=help_)
    if named:
        parser.add_argument("name", metavar="NAME")

    def run(arguments: argparse.Namespace, settings: Settings) -> int:
        asyncio.run(_run(settings, action, arguments))
        return 0

    parser.set_defaults(func=run)
    return parser


async def _run(settings: Settings, action: Action, arguments: argparse.Namespace) -> None:
    async with open_account_admin(settings, "wick user") as admin:
        await action(admin, arguments, settings)


async def list_users(
    admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings
) -> None:
    lines = Table(box=None, pad_edge=False)
    lines.add_column("NAME", overflow="fold")
    for heading in ("ROLE", "STATE", "LAST SEEN"):
        lines.add_column(heading, no_wrap=True)
    there = await admin.list_users()
    for user in there:
        lines.add_row(user.name, user.role, _state(user), _day(user.seen_at))
    if there:
        Console().print(lines)
    else:
        print("No accounts yet. Create the owner's: wick user add NAME")


def _state(user: User) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "active" if user.has_password else "no password yet"


def _day(at: float | None) -> str:
    return "never" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


async def add(admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings) -> None:
    role: Role = "owner" if arguments.owner else "member"
    user = await admin.add(arguments.name, await _new_password(), role)
    print(f"{user.name} can log in, as {'an owner' if user.role == 'owner' else 'a member'}.")
    if user.id == LOCAL_USER:
        print("The chats made on this machine without an account are now theirs.")


async def invite(admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings) -> None:
    token = await admin.invite("owner" if arguments.owner else "member")
    _print_link(settings, token, LINK_LIFETIME["member"])


async def passwd(admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings) -> None:
    await admin.get_by_name(arguments.name)  # before a password is asked for
    if arguments.link:
        _print_link(settings, await admin.password_link(arguments.name), LINK_LIFETIME["reset"])
        return
    user = await admin.set_password(arguments.name, await _new_password())
    print(f"Changed the password of {user.name} and ended all of their sessions.")


async def disable(
    admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings
) -> None:
    user = await admin.disable(arguments.name)
    print(f"Blocked {user.name} and ended all of their sessions.")


async def enable(admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings) -> None:
    user = await admin.enable(arguments.name)
    print(f"{user.name} can log in again.")


async def remove(admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings) -> None:
    user = await admin.get_by_name(arguments.name)
    if not arguments.yes and not await _confirm(user):
        raise InvalidAccount({"name": "Nothing was deleted."})
    await admin.remove(arguments.name)
    print(f"Deleted {user.name} and all of their chats.")


async def _confirm(user: User) -> bool:
    if not sys.stdin.isatty():
        raise InvalidAccount({"yes": "Confirm with --yes."})
    question = f"Delete {user.name} and all of their chats permanently? Type the name: "
    said = await asyncio.to_thread(input, question)
    return said.strip().casefold() == user.name.casefold()


async def _new_password() -> str:
    """Ask for a password twice at a terminal; else read the first line of standard input."""
    if not sys.stdin.isatty():
        line: str = await asyncio.to_thread(sys.stdin.readline)
        return line.rstrip("\n")
    first = await asyncio.to_thread(getpass.getpass, "New password: ")
    if first != await asyncio.to_thread(getpass.getpass, "Confirm password: "):
        raise InvalidAccount({"again": "The passwords do not match."})
    return first


def _print_link(settings: Settings, token: str, within: str) -> None:
    print(f"This link works once, within {within}:\n\n  {join_url(settings, token)}\n")
    if not settings.has_accounts:
        print("It works once accounts are on: see WICK_HOST and WICK_ACCOUNTS in .env.example.")
    else:
        print("On another computer, replace the host with this one's name or address.")
