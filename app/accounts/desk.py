"""The desk: what the administrator of the machine decides about people and their keys.

`wick user` and `wick key` come here. Whether a server does it or the command itself, when none
runs, is the same to them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from app.accounts.keys import Keys
from app.accounts.people import People
from app.store.keys import Key
from app.store.people import LOCAL_USER, Person, Role

VERBS: Final = frozenset(
    {
        *("everybody", "named", "add", "invite", "password_link", "set_password"),
        *("disable", "enable", "remove", "keys_of", "make_key", "revoke_key"),
    }
)
"""What may be asked of a desk over HTTP, by the names of its methods."""


class Desk:
    """stop: ends what is being answered for somebody; erase: removes what is theirs, for good.

    People are told by name. Every verb raises PersonNotFound for one that nobody has.
    """

    def __init__(
        self,
        people: People,
        keys: Keys,
        stop: Callable[[int], Awaitable[None]],
        erase: Callable[[int], Awaitable[None]],
    ) -> None:
        self._people = people
        self._keys = keys
        self._stop = stop
        self._erase = erase

    async def everybody(self) -> list[Person]:
        """Without whoever is at this machine, where nobody has logged in yet."""
        there = await self._people.everybody()
        return [person for person in there if person.has_password or person.id != LOCAL_USER]

    async def named(self, name: str) -> Person:
        return await self._people.named(name)

    async def add(self, name: str, password: str, role: Role) -> Person:
        """The first of all becomes the owner. Raises InvalidAccount."""
        return await self._people.add(name, password, role)

    async def invite(self, role: Role) -> str:
        """The token of a link by which somebody may come."""
        return await self._people.invite(role, None)

    async def password_link(self, name: str) -> str:
        """The token of a link by which they may choose a new password."""
        return await self._people.reset_token((await self.named(name)).id, None)

    async def set_password(self, name: str, password: str) -> Person:
        """Raises InvalidAccount."""
        person = await self.named(name)
        await self._people.set_password(person.id, password)
        return person

    async def disable(self, name: str) -> Person:
        """Raises LastOwner."""
        person = await self.named(name)
        await self._people.disable(person.id)
        await self._stop(person.id)
        return person

    async def enable(self, name: str) -> Person:
        person = await self.named(name)
        await self._people.enable(person.id)
        return person

    async def remove(self, name: str) -> Person:
        """Returns when nothing of theirs is left. Raises LastOwner."""
        person = await self.named(name)
        await self._people.begin_to_leave(person.id)
        await self._erase(person.id)
        return person

    # Keys, of whoever is named; without a name of the first owner.

    async def keys_of(self, user: str | None) -> list[Key]:
        return await self._keys.of(await self._id_of(user))

    async def make_key(self, user: str | None, name: str, scopes: Sequence[str]) -> str:
        """Raises InvalidAccount."""
        secret, _ = await self._keys.add(await self._id_of(user), name, scopes)
        return secret

    async def revoke_key(self, user: str | None, key_id: int) -> None:
        """Raises KeyNotFound."""
        await self._keys.revoke(await self._id_of(user), key_id)

    async def _id_of(self, name: str | None) -> int:
        return LOCAL_USER if name is None else (await self.named(name)).id
