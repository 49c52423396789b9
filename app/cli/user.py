"""`wick user`: the people of this Wick, straight in its database, whether it runs or not.

A running server notices within a second: logins that have ended lose their open pages, and whoever
was removed is removed by it, with what its models hold in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from app import audit
from app.accounts.logins import Logins
from app.accounts.people import People
from app.cli.exposure import join_url
from app.config import Settings
from app.errors import DataFolderInUse, InvalidAccount
from app.store import people as table
from app.store.db import Database, open_database
from app.store.owner import owned
from app.store.people import LOCAL_USER, Person, Role

PATIENCE: Final = 60.0
PAUSE: Final = 0.1
WITHIN: Final = {"member": "a week", "reset": "a day"}


@dataclass(frozen=True, slots=True)
class Office:
    """Where people are looked after. Without a server, what is on the disk is all there is."""

    settings: Settings
    db: Database
    people: People


Action = Callable[[Office, argparse.Namespace], Awaitable[None]]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("user")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add(actions, "list", "show who is there", list_people, named=False)
    action = _add(actions, "add", "let somebody in, with a password that is asked for", add)
    action.add_argument("--owner", action="store_true", help="as an owner, not a member")
    action = _add(actions, "invite", "make a link by which somebody may come", invite, named=False)
    action.add_argument("--owner", action="store_true", help="as an owner, not a member")
    action = _add(actions, "passwd", "give somebody a new password", passwd)
    action.add_argument("--link", action="store_true", help="let them choose it by a link")
    _add(actions, "disable", "keep somebody out; what is theirs stays", disable)
    _add(actions, "enable", "let somebody in again", enable)
    action = _add(actions, "remove", "remove somebody and everything of theirs for good", remove)
    action.add_argument("--yes", action="store_true", help="do not ask whether it is meant")


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
        asyncio.run(_do(settings, action, arguments))
        return 0

    parser.set_defaults(func=run)
    return parser


async def _do(settings: Settings, action: Action, arguments: argparse.Namespace) -> None:
    async with _open(settings) as office:
        await action(office, arguments)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Office]:
    async with open_database(settings.database, is_guest=True) as db:
        with audit.kept_in(settings.data_dir):
            yield Office(settings, db, People(db, Logins(db)))


async def list_people(office: Office, arguments: argparse.Namespace) -> None:
    lines = Table(box=None, pad_edge=False)
    for heading in ("NAME", "ROLE", "STATE", "LAST SEEN"):
        lines.add_column(heading)
    there = [p for p in await office.people.everybody() if p.has_password or p.id != LOCAL_USER]
    for person in there:
        lines.add_row(person.name, person.role, _state(person), _day(person.seen_at))
    if there:
        Console().print(lines)
    else:
        print("There are no accounts yet. To make the first, the owner's: wick user add NAME")


def _state(person: Person) -> str:
    if person.disabled_at is not None:
        return "disabled"
    return "active" if person.has_password else "no password yet"


def _day(at: float | None) -> str:
    return "never" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


async def add(office: Office, arguments: argparse.Namespace) -> None:
    is_first = not await office.people.have_owner()
    role: Role = "owner" if arguments.owner or is_first else "member"
    password = await _new_password()
    person = await office.people.add(arguments.name, password, role)
    print(f"{person.name} can log in, as {'an owner' if person.role == 'owner' else 'a member'}.")
    if is_first:
        print("The chats that were made at this machine without a login are theirs.")


async def invite(office: Office, arguments: argparse.Namespace) -> None:
    role: Role = "owner" if arguments.owner else "member"
    token = await office.people.invite(role, None)
    _print_link(office.settings, token, WITHIN["member"])


async def passwd(office: Office, arguments: argparse.Namespace) -> None:
    person = await office.people.named(arguments.name)
    if arguments.link:
        token = await office.people.reset_token(person.id, None)
        _print_link(office.settings, token, WITHIN["reset"])
        return
    await office.people.set_password(person.id, await _new_password())
    print(f"The password of {person.name} is changed, and every login of theirs has ended.")


async def disable(office: Office, arguments: argparse.Namespace) -> None:
    person = await office.people.named(arguments.name)
    await office.people.disable(person.id)
    print(f"{person.name} is kept out, and every login of theirs has ended.")


async def enable(office: Office, arguments: argparse.Namespace) -> None:
    person = await office.people.named(arguments.name)
    await office.people.enable(person.id)
    print(f"{person.name} can log in again.")


async def remove(office: Office, arguments: argparse.Namespace) -> None:
    from app.chats.leaving import erase

    person = await office.people.named(arguments.name)
    if not arguments.yes and not await _is_meant(person):
        raise InvalidAccount({"name": "Nothing was removed."})
    await office.people.begin_to_leave(person.id)
    try:
        with owned(office.settings.data_dir, "wick user remove"):
            await erase(office.db, office.settings, person.id)
    except DataFolderInUse:
        if not await _is_done_by_server(office.db, person.id):
            print(f"{person.name} is kept out. What is theirs goes when Wick is started next.")
            return
    print(f"{person.name} is removed, with everything of theirs.")


async def _is_done_by_server(db: Database, user_id: int) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if user_id not in await table.leavers(db):
            return True
        await asyncio.sleep(PAUSE)
    return False


async def _is_meant(person: Person) -> bool:
    if not sys.stdin.isatty():
        raise InvalidAccount({"yes": "Nobody is there to say that this is meant: add --yes."})
    question = f"Remove {person.name} with every chat of theirs, for good? Type the name: "
    said = await asyncio.to_thread(input, question)
    return said.strip().casefold() == person.name.casefold()


async def _new_password() -> str:
    """Asked for twice at a terminal; else the first line of the standard input."""
    if not sys.stdin.isatty():
        line: str = await asyncio.to_thread(sys.stdin.readline)
        return line.rstrip("\n")
    first = await asyncio.to_thread(getpass.getpass, "New password: ")
    if first != await asyncio.to_thread(getpass.getpass, "The same again: "):
        raise InvalidAccount({"again": "These two passwords are not the same."})
    return first


def _print_link(settings: Settings, token: str, within: str) -> None:
    print(f"This link works once, within {within}:\n\n  {join_url(settings, token)}\n")
    if not settings.has_accounts:
        print("It works where people log in: see WICK_HOST and WICK_ACCOUNTS in .env.example.")
    else:
        print("From another machine, put this one's name or address into it.")
