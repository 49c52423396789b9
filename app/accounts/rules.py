"""What holds for every account, whoever changes it. What takes a connection is in a transaction."""

from __future__ import annotations

import aiosqlite

from app.accounts.names import normalize_name, username_key
from app.accounts.passwords import Passwords, check_password
from app.errors import InvalidAccount, LastOwner
from app.store import invites, people
from app.store.people import Role


async def validate_credentials(
    passwords: Passwords, name: str, password: str | None
) -> tuple[str, str | None]:
    """Name and hash. Raises InvalidAccount with all that is wrong."""
    problems: dict[str, str] = {}
    try:
        name = normalize_name(name)
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


async def insert_user(
    connection: aiosqlite.Connection, name: str, kept: str | None, role: Role, now: float
) -> int:
    """Somebody new. Raises InvalidAccount for a name that is taken."""
    await ensure_name_free(connection, name)
    return await people.add(connection, name, username_key(name), kept, role, now)


async def rename_user(connection: aiosqlite.Connection, user_id: int, name: str) -> None:
    """Raises InvalidAccount for a name that is taken."""
    await ensure_name_free(connection, name, besides=user_id)
    await people.name_user(connection, user_id, name, username_key(name))


async def store_password(connection: aiosqlite.Connection, user_id: int, kept: str) -> None:
    """No link from before opens a way around the new one."""
    await invites.revoke_for(connection, user_id)
    await people.set_password(connection, user_id, kept)


async def ensure_not_last_owner(connection: aiosqlite.Connection, user_id: int) -> None:
    """Raises LastOwner."""
    if await people.count_owners(connection, besides=user_id) == 0 and (
        await people.count_owners(connection)
    ):
        raise LastOwner("This is the only owner. Make somebody else an owner first, please.")


async def ensure_name_free(
    connection: aiosqlite.Connection, name: str, *, besides: int = 0
) -> None:
    if await people.is_taken(connection, username_key(name), besides=besides):
        raise InvalidAccount({"name": "This name is taken. Choose another, please."})
