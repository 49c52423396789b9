"""API keys: programs that act for a user."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from app.audit import audit
from app.db import api_keys, users
from app.db.api_keys import ApiKey
from app.db.connection import Database
from app.db.sessions import hash_token
from app.db.users import User
from app.errors import InvalidAccount, KeyNotFound

PREFIX: Final = "wick_"
"""By which a key is known as one of ours, by us and by programs that look for leaked ones."""
SCOPES: Final = {
    "chat": "use models",
    "read": "read your chats",
    "write": "write in and change your chats",
}
MAX_NAME_CHARS: Final = 60
MAX_KEYS: Final = 50
TOUCH_EVERY_SECONDS: Final = 60.0
"""Seconds after which a key's use is written down again."""
HINT: Final = len(PREFIX) + 4


class ApiKeyOwner(NamedTuple):
    """The user of a key."""

    user: User
    key: ApiKey


class ApiKeys:
    """Makes, finds and revokes them."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    async def add(self, user_id: int, name: str, scopes: Collection[str]) -> tuple[str, ApiKey]:
        """The key, which nobody can find out later, and what is kept. Raises InvalidAccount."""
        name = "".join(c for c in " ".join(name.split()) if c.isprintable())
        chosen = tuple(scope for scope in SCOPES if scope in scopes)
        _check(name, chosen, len(await self.list_for_user(user_id)))
        secret = PREFIX + secrets.token_urlsafe(32)
        digest, hint, now = hash_token(secret), secret[:HINT], self._clock()
        key_id = await self._db.write(
            lambda c: api_keys.add(c, user_id, name, digest, hint, chosen, now)
        )
        audit("key-made", user=user_id, key=key_id, scopes=" ".join(chosen))
        return secret, ApiKey(key_id, user_id, name, hint, chosen, now, None)

    async def list_for_user(self, user_id: int) -> list[ApiKey]:
        return await api_keys.list_for_user(self._db, user_id)

    async def authenticate(self, secret: str) -> ApiKeyOwner | None:
        """Return whose key this is, if it is one that holds; it counts as used now."""
        key = await api_keys.get(self._db, hash_token(secret))
        user = None if key is None else await users.get(self._db, key.user_id)
        if key is None or user is None or user.disabled_at is not None:
            return None
        now = self._clock()
        if now - (key.used_at or 0.0) > TOUCH_EVERY_SECONDS:
            await self._db.try_write(lambda c: api_keys.touch(c, key.id, now))
        return ApiKeyOwner(user, key)

    async def revoke(self, user_id: int, key_id: int) -> None:
        """Revoke a key. Raises KeyNotFound when this user has no such key."""
        if not await self._db.write(lambda c: api_keys.revoke(c, user_id, key_id)):
            raise KeyNotFound("No such API key.")
        audit("key-revoked", user=user_id, key=key_id)


def _check(name: str, scopes: Collection[str], count: int) -> None:
    problems = {}
    if not name:
        problems["name"] = "Give the key a name."
    elif len(name) > MAX_NAME_CHARS:
        problems["name"] = f"Use at most {MAX_NAME_CHARS} characters."
    elif count >= MAX_KEYS:
        problems["name"] = f"You have {MAX_KEYS} keys, the limit. Revoke one first."
    if not scopes:
        problems["scopes"] = "Choose at least one permission."
    if problems:
        raise InvalidAccount(problems)
