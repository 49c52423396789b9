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
from app.errors import SessionNotFound, WickError
from app.store import logins
from app.store.db import Database
from app.store.logins import Session, SessionLimits

log = logging.getLogger(__name__)
DAY: Final = 86400.0
MAX_AGE_SECONDS: Final = 90 * DAY
"""Seconds after which one has to log in again, and after which unused, ..."""
MAX_IDLE_SECONDS: Final = 14 * DAY
ROTATE_AFTER_SECONDS: Final = DAY
GRACE_SECONDS: Final = 60.0
"""... a token is changed; requests on their way with the old one are let through meanwhile."""
TOUCH_EVERY_SECONDS: Final = 60.0
CHECK_EVERY_SECONDS: Final = 10.0
"""How often the logins of open sockets are looked at: they may have become too old."""


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Sessions:
    """One server's logins. `changed` wakes whoever waits for one of them to end."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock
        self._watched: dict[int, list[asyncio.Event]] = {}

    async def create(self, user_id: int, device: str, address: str) -> tuple[str, Session]:
        """The token for the cookie, which nobody can find out afterwards, and the login."""
        token, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(16), self._clock()
        digest = hash_token(token)
        await self._db.write(lambda c: logins.add(c, user_id, digest, csrf, device, address, now))
        session = await logins.get(self._db, digest, self._limits())
        if session is None:  # disabled or removed in this very moment
            raise SessionNotFound("This account cannot be used any more.")
        audit("login", user=user_id, login=session.id, address=address)
        return token, session

    async def authenticate(self, token: str) -> Session | None:
        """The login of a token that holds; it counts as used now."""
        digest = hash_token(token)
        session = await logins.get(self._db, digest, self._limits())
        if session is None:
            return None
        now = self._clock()
        if (
            session.is_current
            and not session.is_confirmed
            and now - session.rotated_at > GRACE_SECONDS
        ):
            await self._db.write(lambda c: logins.confirm(c, session.id, digest))
        if now - session.seen_at > TOUCH_EVERY_SECONDS:
            await self._db.write(lambda c: logins.touch(c, session.id, now))
        return session

    async def rotate_token(self, session: Session, token: str) -> str | None:
        """A new token in the place of `token` when it is time for one.

        A browser that never got the new one may still come with the old one, and gets another.
        """
        age = self._clock() - session.rotated_at
        if age <= (ROTATE_AFTER_SECONDS if session.is_current else GRACE_SECONDS):
            return None
        new, shown, now = secrets.token_urlsafe(32), hash_token(token), self._clock()
        done = await self._db.write(
            lambda c: logins.rotate(c, session, shown, hash_token(new), now)
        )
        return new if done else None

    async def is_active(self, login_id: int) -> bool:
        return bool(await logins.active_ids(self._db, [login_id], self._limits()))

    async def touch(self, login_id: int) -> Session | None:
        """The login of a socket that a message has come from, if it still holds."""
        session = (await logins.active_ids(self._db, [login_id], self._limits())).get(login_id)
        now = self._clock()
        if session is not None and now - session.seen_at > TOUCH_EVERY_SECONDS:
            await self._db.write(lambda c: logins.touch(c, login_id, now))
        return session

    async def list_for_user(self, user_id: int) -> list[Session]:
        return await logins.list_for_user(self._db, user_id, self._limits())

    async def revoke(self, user_id: int, login_id: int) -> None:
        """Raises LoginNotFound when it is none of this person's."""
        if not await self._db.write(lambda c: logins.revoke(c, user_id, login_id)):
            raise SessionNotFound("This login has ended already.")
        audit("login-ended", user=user_id, login=login_id)
        await self.check_watched()

    async def revoke_all(self, user_id: int, *, besides: int = 0) -> None:
        await self._db.write(lambda c: logins.revoke_all(c, user_id, besides=besides))
        audit("all-logins-ended", user=user_id, besides=besides or None)
        await self.check_watched()

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

    async def check_watched(self) -> None:
        """Tell those who watch a login that has ended."""
        watched = list(self._watched)
        if not watched:
            return
        live = await logins.active_ids(self._db, watched, self._limits())
        for login_id in watched:
            if login_id not in live:
                for ended in self._watched.get(login_id, ()):
                    ended.set()

    async def run(self) -> None:
        """Look again and again, until cancelled; once an hour forget what has ended."""
        cleaned = -DAY
        while True:
            try:
                await self.check_watched()
                if time.monotonic() - cleaned > 3600:
                    cleaned = time.monotonic()
                    limits = self._limits()
                    await self._db.write(lambda c: logins.purge_expired(c, limits))  # noqa: B023
            except WickError as error:
                log.warning("The logins could not be looked at: %s", error)
            await asyncio.sleep(CHECK_EVERY_SECONDS)

    def _limits(self) -> SessionLimits:
        now = self._clock()
        return SessionLimits(made_after=now - MAX_AGE_SECONDS, seen_after=now - MAX_IDLE_SECONDS)
