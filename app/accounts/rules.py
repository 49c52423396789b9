"""What holds for every account, whoever changes it. What takes a connection is in a transaction."""

from __future__ import annotations

import aiosqlite

from app.accounts.names import clean_name, name_key
from app.accounts.passwords import Passwords, check_password
from app.errors import InvalidAccount, LastOwner
from app.store import invites, people
from app.store.people import Role


async def made_fit(passwords: Passwords, name: str, password: str | None) -> tuple[str, str | None]:
    """Name and hash. Raises InvalidAccount with all that is wrong."""
    problems: dict[str, str] = {}
    try:
        name = clean_name(name)
    except InvalidAccount as error:
        problems |= error.problems
    if password is not None:
        try:
            check_password(password, name)
        except InvalidAccount as error:
            problems |= error.problems
    if problems:
        raise InvalidAccount(problems)
    return name, None if password is None else await passwords.hash(password)


async def add(
    connection: aiosqlite.Connection, name: str, kept: str | None, role: Role, now: float
) -> int:
    """Somebody new. Raises InvalidAccount for a name that is taken."""
    await _check_free(connection, name)
    return await people.add(connection, name, name_key(name), kept, role, now)


async def rename(connection: aiosqlite.Connection, user_id: int, name: str) -> None:
    """Raises InvalidAccount for a name that is taken."""
    await _check_free(connection, name, besides=user_id)
    await people.name(connection, user_id, name, name_key(name))


async def set_password(connection: aiosqlite.Connection, user_id: int, kept: str) -> None:
    """No link from before opens a way around the new one."""
    await invites.withdraw_for(connection, user_id)
    await people.set_password(connection, user_id, kept)


async def check_not_last(connection: aiosqlite.Connection, user_id: int) -> None:
    """Raises LastOwner."""
    if await people.count_owners(connection, besides=user_id) == 0 and (
        await people.count_owners(connection)
    ):
        raise LastOwner("This is the only owner. Make somebody else an owner first, please.")


async def _check_free(connection: aiosqlite.Connection, name: str, *, besides: int = 0) -> None:
    if await people.is_taken(connection, name_key(name), besides=besides):
        raise InvalidAccount({"name": "This name is taken. Choose another, please."})
