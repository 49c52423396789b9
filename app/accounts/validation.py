"""Rules of accounts: names, passwords, and the last owner that must stay."""

from __future__ import annotations

import unicodedata
from typing import Final

import aiosqlite

from app.accounts.passwords import Passwords, check_password
from app.db import users
from app.db.users import Role
from app.errors import InvalidAccount, LastOwner

# What people are called when they log in.


MAX_NAME_CHARS: Final = 40
_LETTERS: Final = frozenset("LMN")  # letters, the marks on them, digits
_SIGNS: Final = frozenset(" ._-@'")


def normalize_name(text: str) -> str:
    """The name as it is shown. Raises InvalidAccount."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise InvalidAccount({"name": "Choose a name."})
    if len(name) > MAX_NAME_CHARS:
        raise InvalidAccount({"name": f"Use at most {MAX_NAME_CHARS} characters."})
    if any(unicodedata.category(c)[0] not in _LETTERS and c not in _SIGNS for c in name):
        raise InvalidAccount({"name": "Use only letters, digits, spaces and . _ - @ '."})
    if not any(c.isalnum() for c in name):
        raise InvalidAccount({"name": "Use at least one letter or digit."})
    return name


def username_key(text: str) -> str:
    """The name as it is compared; of what is no name too, which then finds nobody."""
    plain = text.encode("utf-8", "replace").decode()  # a terminal may give what is no text
    return unicodedata.normalize("NFKC", " ".join(plain.split())).casefold()


# What holds for every account, whoever changes it. What takes a connection is in a transaction.


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
    """Insert a user. Raises InvalidAccount for a name that is taken."""
    await ensure_name_free(connection, name)
    return await users.add(connection, name, username_key(name), kept, role, now)


async def rename_user(connection: aiosqlite.Connection, user_id: int, name: str) -> None:
    """Raises InvalidAccount for a name that is taken."""
    await ensure_name_free(connection, name, besides=user_id)
    await users.name_user(connection, user_id, name, username_key(name))


async def store_password(connection: aiosqlite.Connection, user_id: int, kept: str) -> None:
    """Store a password; no link from before opens a way around it."""
    await users.revoke_password_links(connection, user_id)
    await users.set_password(connection, user_id, kept)


async def ensure_not_last_owner(connection: aiosqlite.Connection, user_id: int) -> None:
    """Raises LastOwner."""
    if await users.count_owners(connection, besides=user_id) == 0 and (
        await users.count_owners(connection)
    ):
        raise LastOwner("This is the only owner. Make another user an owner first.")


async def ensure_name_free(
    connection: aiosqlite.Connection, name: str, *, besides: int = 0
) -> None:
    if await users.is_taken(connection, username_key(name), besides=besides):
        raise InvalidAccount({"name": "This name is taken. Choose another."})
