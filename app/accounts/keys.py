"""API keys: programs that act for a person."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from app.accounts.logins import hash_of
from app.audit import audit
from app.errors import InvalidAccount, KeyNotFound
from app.store import keys, people
from app.store.db import Database
from app.store.keys import Key
from app.store.people import Person

PREFIX: Final = "wick_"
"""By which a key is known as one of ours, by us and by programs that look for leaked ones."""
SCOPES: Final = {
    "chat": "ask the models",
    "read": "read your chats",
    "write": "write in your chats and change them",
}
LONGEST_NAME: Final = 60
MOST: Final = 50
USED_EVERY: Final = 60.0
"""Seconds after which a key's use is written down again."""
HINT: Final = len(PREFIX) + 4


class Holder(NamedTuple):
    """Whose key it is."""

    person: Person
    key: Key


class Keys:
    """Makes, finds and revokes them."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    async def add(self, user_id: int, name: str, scopes: Collection[str]) -> tuple[str, Key]:
        """The key, which nobody can find out later, and what is kept. Raises InvalidAccount."""
        name = "".join(c for c in " ".join(name.split()) if c.isprintable())
        chosen = tuple(scope for scope in SCOPES if scope in scopes)
        _check(name, chosen, len(await self.of(user_id)))
        secret = PREFIX + secrets.token_urlsafe(32)
        digest, hint, now = hash_of(secret), secret[:HINT], self._clock()
        key_id = await self._db.write(
            lambda c: keys.add(c, user_id, name, digest, hint, chosen, now)
        )
        audit("key-made", user=user_id, key=key_id, scopes=" ".join(chosen))
        return secret, Key(key_id, user_id, name, hint, chosen, now, None)

    async def of(self, user_id: int) -> list[Key]:
        return await keys.of(self._db, user_id)

    async def find(self, secret: str) -> Holder | None:
        """Whose key this is, if it is one that holds; it counts as used now."""
        key = await keys.find(self._db, hash_of(secret))
        person = None if key is None else await people.find(self._db, key.user_id)
        if key is None or person is None or person.disabled_at is not None:
            return None
        now = self._clock()
        if now - (key.used_at or 0.0) > USED_EVERY:
            await self._db.write(lambda c: keys.use(c, key.id, now))
        return Holder(person, key)

    async def revoke(self, user_id: int, key_id: int) -> None:
        """From now on it opens nothing. Raises KeyNotFound when it is none of this person's."""
        if not await self._db.write(lambda c: keys.revoke(c, user_id, key_id)):
            raise KeyNotFound("There is no such key (any more).")
        audit("key-revoked", user=user_id, key=key_id)


def _check(name: str, scopes: Collection[str], count: int) -> None:
    problems = {}
    if not name:
        problems["name"] = "Say what the key is for, please: you will want to know one day."
    elif len(name) > LONGEST_NAME:
        problems["name"] = f"A name has at most {LONGEST_NAME} characters."
    elif count >= MOST:
        problems["name"] = f"You have {MOST} keys already. Revoke one of them first, please."
    if not scopes:
        problems["scopes"] = "Choose what the key may be used for, please."
    if problems:
        raise InvalidAccount(problems)
