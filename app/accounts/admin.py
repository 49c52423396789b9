"""Administration of users and their API keys at this machine.

`wick user` and `wick key` come here. Whether a server does it or the command itself, when none
runs, is the same to them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from app.accounts.api_keys import ApiKeys
from app.accounts.one_time_codes import OneTimeCodes
from app.accounts.users import Users
from app.db.api_keys import ApiKey
from app.db.users import LOCAL_USER, Role, User

OPERATIONS: Final = {
    "everybody": "list_users",
    "named": "get_by_name",
    "keys_of": "list_keys",
    "make_key": "create_key",
    **{
        name: name
        for name in (
            *("add", "invite", "password_link", "set_password"),
            *("disable", "enable", "remove", "turn_off_codes", "revoke_key"),
        )
    },
}
"""Names in the address of a request, and the methods of AccountAdmin that they stand for."""


class AccountAdmin:
    """stop: ends what is being answered for somebody; erase: removes what is theirs, for good.

    Users are given by name. Every method raises UserNotFound for one that nobody has.
    """

    def __init__(
        self,
        users: Users,
        keys: ApiKeys,
        codes: OneTimeCodes,
        stop: Callable[[int], Awaitable[None]],
        erase: Callable[[int], Awaitable[None]],
    ) -> None:
        self._users = users
        self._api_keys = keys
        self._codes = codes
        self._stop = stop
        self._erase = erase

    async def list_users(self) -> list[User]:
        """List users, without the local one while nobody has logged in yet."""
        there = await self._users.list_users()
        return [user for user in there if user.has_password or user.id != LOCAL_USER]

    async def get_by_name(self, name: str) -> User:
        return await self._users.get_by_name(name)

    async def add(self, name: str, password: str, role: Role) -> User:
        """The first of all becomes the owner. Raises InvalidAccount."""
        return await self._users.add(name, password, role)

    async def invite(self, role: Role) -> str:
        """The token of a link by which somebody may come."""
        return await self._users.invite(role, None)

    async def password_link(self, name: str) -> str:
        """The token of a link by which they may choose a new password."""
        return await self._users.reset_token((await self.get_by_name(name)).id, None)

    async def set_password(self, name: str, password: str) -> User:
        """Raises InvalidAccount."""
        user = await self.get_by_name(name)
        await self._users.set_password(user.id, password)
        return user

    async def disable(self, name: str) -> User:
        """Raises LastOwner."""
        user = await self.get_by_name(name)
        await self._users.disable(user.id)
        await self._stop(user.id)
        return user

    async def enable(self, name: str) -> User:
        user = await self.get_by_name(name)
        await self._users.enable(user.id)
        return user

    async def turn_off_codes(self, name: str) -> bool:
        """Let a user log in by their password alone; return whether codes were on."""
        return await self._codes.turn_off((await self.get_by_name(name)).id)

    async def remove(self, name: str) -> User:
        """Returns when nothing of theirs is left. Raises LastOwner."""
        user = await self.get_by_name(name)
        await self._users.mark_for_deletion(user.id)
        await self._erase(user.id)
        return user

    # Keys, of whoever is named; without a name of the first owner.

    async def list_keys(self, user: str | None) -> list[ApiKey]:
        return await self._api_keys.list_for_user(await self._id_of(user))

    async def create_key(self, user: str | None, name: str, scopes: Sequence[str]) -> str:
        """Raises InvalidAccount."""
        secret, _ = await self._api_keys.add(await self._id_of(user), name, scopes)
        return secret

    async def revoke_key(self, user: str | None, key_id: int) -> None:
        """Raises KeyNotFound."""
        await self._api_keys.revoke(await self._id_of(user), key_id)

    async def _id_of(self, name: str | None) -> int:
        return LOCAL_USER if name is None else (await self.get_by_name(name)).id
