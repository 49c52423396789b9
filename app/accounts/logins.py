"""Logins: made, found again by a cookie's token, renewed, ended, and watched while they last."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.audit import audit
from app.errors import LoginNotFound, WickError
from app.store import logins
from app.store.db import Database
from app.store.logins import Limits, Login

log = logging.getLogger(__name__)
DAY: Final = 86400.0
LONGEST: Final = 90 * DAY
"""Seconds after which one has to log in again, and after which unused, ..."""
IDLE: Final = 14 * DAY
ROTATED_AFTER: Final = DAY
GRACE: Final = 60.0
"""... a token is changed; requests on their way with the old one are let through meanwhile."""
SEEN_EVERY: Final = 60.0
LOOK_EVERY: Final = 10.0
"""How often the logins of open sockets are looked at: they may have become too old."""


def hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Logins:
    """One server's logins. `changed` wakes whoever waits for one of them to end."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock
        self._watched: dict[int, list[asyncio.Event]] = {}

    async def begin(self, user_id: int, device: str, address: str) -> tuple[str, Login]:
        """The token for the cookie, which nobody can find out afterwards, and the login."""
        token, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(16), self._clock()
        digest = hash_of(token)
        await self._db.write(lambda c: logins.add(c, user_id, digest, csrf, device, address, now))
        login = await logins.find(self._db, digest, self._limits())
        if login is None:  # disabled or removed in this very moment
            raise LoginNotFound("This account cannot be used any more.")
        audit("login", user=user_id, login=login.id, address=address)
        return token, login

    async def find(self, token: str) -> Login | None:
        """The login of a token that holds; it counts as used now."""
        digest = hash_of(token)
        login = await logins.find(self._db, digest, self._limits())
        if login is None:
            return None
        now = self._clock()
        if login.is_current and not login.is_confirmed and now - login.rotated_at > GRACE:
            await self._db.write(lambda c: logins.confirm(c, login.id, digest))
        if now - login.seen_at > SEEN_EVERY:
            await self._db.write(lambda c: logins.see(c, login.id, now))
        return login

    async def rotated(self, login: Login, token: str) -> str | None:
        """A new token in the place of `token` when it is time for one.

        A browser that never got the new one may still come with the old one, and gets another.
        """
        age = self._clock() - login.rotated_at
        if age <= (ROTATED_AFTER if login.is_current else GRACE):
            return None
        new, shown, now = secrets.token_urlsafe(32), hash_of(token), self._clock()
        done = await self._db.write(lambda c: logins.rotate(c, login, shown, hash_of(new), now))
        return new if done else None

    async def holds(self, login_id: int) -> bool:
        return bool(await logins.live(self._db, [login_id], self._limits()))

    async def use(self, login_id: int) -> Login | None:
        """The login of a socket that a message has come from, if it still holds."""
        login = (await logins.live(self._db, [login_id], self._limits())).get(login_id)
        now = self._clock()
        if login is not None and now - login.seen_at > SEEN_EVERY:
            await self._db.write(lambda c: logins.see(c, login_id, now))
        return login

    async def of(self, user_id: int) -> list[Login]:
        return await logins.of(self._db, user_id, self._limits())

    async def end(self, user_id: int, login_id: int) -> None:
        """Raises LoginNotFound when it is none of this person's."""
        if not await self._db.write(lambda c: logins.end(c, user_id, login_id)):
            raise LoginNotFound("This login has ended already.")
        audit("login-ended", user=user_id, login=login_id)
        await self.look()

    async def end_all(self, user_id: int, *, besides: int = 0) -> None:
        await self._db.write(lambda c: logins.end_all(c, user_id, besides=besides))
        audit("all-logins-ended", user=user_id, besides=besides or None)
        await self.look()

    @contextmanager
    def watch(self, login_id: int) -> Iterator[asyncio.Event]:
        """An event that is set once the login has ended; that of no login (0) never."""
        ended = asyncio.Event()
        if not login_id:
            yield ended
            return
        self._watched.setdefault(login_id, []).append(ended)
        try:
            yield ended
        finally:
            self._watched[login_id].remove(ended)
            if not self._watched[login_id]:
                del self._watched[login_id]

    async def look(self) -> None:
        """Tell those who watch a login that has ended."""
        watched = list(self._watched)
        if not watched:
            return
        live = await logins.live(self._db, watched, self._limits())
        for login_id in watched:
            if login_id not in live:
                for ended in self._watched.get(login_id, ()):
                    ended.set()

    async def keep_watch(self) -> None:
        """Look again and again, until cancelled; once an hour forget what has ended."""
        cleaned = -DAY
        while True:
            try:
                await self.look()
                if time.monotonic() - cleaned > 3600:
                    cleaned = time.monotonic()
                    limits = self._limits()
                    await self._db.write(lambda c: logins.forget_ended(c, limits))  # noqa: B023
            except WickError as error:
                log.warning("The logins could not be looked at: %s", error)
            await asyncio.sleep(LOOK_EVERY)

    def _limits(self) -> Limits:
        now = self._clock()
        return Limits(made_after=now - LONGEST, seen_after=now - IDLE)
