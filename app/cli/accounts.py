"""`wick user` and `wick key`: accounts and API keys of this Wick, whether it runs or not."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import httpx
from rich.console import Console
from rich.table import Table

from app import audit
from app.accounts.admin import AccountAdmin
from app.accounts.api_keys import SCOPES, ApiKeys
from app.accounts.one_time_codes import OneTimeCodes
from app.accounts.sessions import Sessions
from app.accounts.users import Users
from app.cli.serve import join_url
from app.config import Settings
from app.db.api_keys import ApiKey
from app.db.connection import Database, open_database
from app.db.users import LOCAL_USER, Role, User
from app.errors import InvalidAccount
from app.local_server import acquire_or_discover, client_options, send_command

T = TypeVar("T")
TIMEOUT_SECONDS: Final = 600.0
"""Removing a user rewrites the whole database."""
LINK_LIFETIME: Final = {"member": "a week", "reset": "a day"}
Action = Callable[["AnyAccountAdmin", argparse.Namespace, Settings], Awaitable[None]]

# `wick user`: the accounts.


def add_user_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("user")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_user_action(actions, "list", "list users", list_users, named=False)
    action = _add_user_action(actions, "add", "add a user; asks for the password", add)
    action.add_argument("--owner", action="store_true", help="make the user an owner, not a member")
    action = _add_user_action(actions, "invite", "create an invite link", invite, named=False)
    action.add_argument("--owner", action="store_true", help="make the user an owner, not a member")
    action = _add_user_action(actions, "passwd", "change a user's password", passwd)
    action.add_argument("--link", action="store_true", help="print a password reset link instead")
    _add_user_action(actions, "disable", "block a user; keep their chats", disable)
    _add_user_action(actions, "enable", "unblock a user", enable)
    _add_user_action(
        actions, "reset-codes", "turn off one-time codes of a user who lost them", reset_codes
    )
    action = _add_user_action(
        actions, "remove", "delete a user and all of their chats permanently", remove
    )
    action.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_user_action(
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
        return _run(settings, "wick user", lambda admin: action(admin, arguments, settings))

    parser.set_defaults(func=run)
    return parser


async def list_users(
    admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings
) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("NAME", overflow="fold")
    for heading in ("ROLE", "STATE", "CODES", "LAST SEEN"):
        table.add_column(heading, no_wrap=True)
    users = await admin.list_users()
    for user in users:
        table.add_row(user.name, user.role, _state(user), _codes(user), _minute(user.seen_at))
    if users:
        Console().print(table)
    else:
        print("No accounts yet. Create the owner's: wick user add NAME")


def _state(user: User) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "active" if user.has_password or user.seen_at else "no password yet"


def _codes(user: User) -> str:
    return "on" if user.has_codes else "off"


def _minute(at: float | None) -> str:
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


async def reset_codes(
    admin: AnyAccountAdmin, arguments: argparse.Namespace, settings: Settings
) -> None:
    user = await admin.get_by_name(arguments.name)
    if await admin.turn_off_codes(arguments.name):
        print(f"Turned off one-time codes: {user.name} logs in by password alone.")
    else:
        print(f"{user.name} has not turned on one-time codes.")


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
    answer = await asyncio.to_thread(input, question)
    return answer.strip().casefold() == user.name.casefold()


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


# `wick key`: API keys.


def add_key_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("key")
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

    return _run(settings, "wick key", add)


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

    return _run(settings, "wick key", show)


def revoke_key(args: argparse.Namespace, settings: Settings) -> int:
    async def revoke(admin: AnyAccountAdmin) -> None:
        await admin.revoke_key(args.user, args.id)
        print("The key is revoked.")

    return _run(settings, "wick key", revoke)


def _add_user_argument(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--user", metavar="NAME", help="owner of the key (default: the first owner)"
    )


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


# Account admin of both: the running server's, or else one in this process.


def _run(
    settings: Settings, command: str, work: Callable[[AnyAccountAdmin], Awaitable[None]]
) -> int:
    async def run() -> None:
        async with open_account_admin(settings, command) as admin:
            await work(admin)

    asyncio.run(run())
    return 0


@asynccontextmanager
async def open_account_admin(settings: Settings, command: str) -> AsyncIterator[AnyAccountAdmin]:
    """Open the account admin.

    Raises DataFolderInUse while a `wick chat` works alone on the data folder.
    """
    async with AsyncExitStack() as stack:
        own = stack.enter_context(ExitStack())
        owner = await acquire_or_discover(settings.data_dir, command, own)
        if owner is not None:
            options = client_options(settings, owner.url, owner.secret)
            client = httpx.AsyncClient(**options, timeout=TIMEOUT_SECONDS)
            yield RemoteAccountAdmin(await stack.enter_async_context(client))
            return
        stack.enter_context(audit.write_audit_file(settings.data_dir))
        db = await stack.enter_async_context(
            open_database(settings.database, settings.upgrade_copies_kept)
        )
        yield _local_admin(settings, db)


def _local_admin(settings: Settings, db: Database) -> AccountAdmin:
    # Here and not above: it needs the engine's parts.
    from app.conversations.account_deletion import erase_user

    async def stop(user_id: int) -> None:
        """Stop nothing: no server runs."""

    users = Users(db, Sessions(db))
    return AccountAdmin(
        *(users, ApiKeys(db), OneTimeCodes(db, users), stop, partial(erase_user, db, settings))
    )


class RemoteAccountAdmin:
    """AccountAdmin whose work the server does; raises PeerError with what it refuses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def list_users(self) -> list[User]:
        return await self._request(list[User], "everybody")

    async def get_by_name(self, name: str) -> User:
        return await self._request(User, "named", name=name)

    async def add(self, name: str, password: str, role: Role) -> User:
        return await self._request(User, "add", name=name, password=password, role=role)

    async def invite(self, role: Role) -> str:
        return await self._request(str, "invite", role=role)

    async def password_link(self, name: str) -> str:
        return await self._request(str, "password_link", name=name)

    async def set_password(self, name: str, password: str) -> User:
        return await self._request(User, "set_password", name=name, password=password)

    async def disable(self, name: str) -> User:
        return await self._request(User, "disable", name=name)

    async def enable(self, name: str) -> User:
        return await self._request(User, "enable", name=name)

    async def turn_off_codes(self, name: str) -> bool:
        return await self._request(bool, "turn_off_codes", name=name)

    async def remove(self, name: str) -> User:
        return await self._request(User, "remove", name=name)

    async def list_keys(self, user: str | None) -> list[ApiKey]:
        return await self._request(list[ApiKey], "keys_of", user=user)

    async def create_key(self, user: str | None, name: str, scopes: Sequence[str]) -> str:
        return await self._request(str, "make_key", user=user, name=name, scopes=list(scopes))

    async def revoke_key(self, user: str | None, key_id: int) -> None:
        await self._request(type(None), "revoke_key", user=user, key_id=key_id)

    async def _request(self, kind: type[T], verb: str, **arguments: object) -> T:
        return await send_command(self._client, kind, verb, arguments)


AnyAccountAdmin = AccountAdmin | RemoteAccountAdmin
