"""Sessions: made, found by a cookie's token, renewed and ended; trusted devices and cookie
names."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import aiosqlite

from app.audit import audit
from app.db import sessions
from app.db.connection import Database
from app.db.sessions import Session, SessionLimits, hash_token
from app.errors import SessionNotFound, WickError

# Browsers in which somebody has logged in before.
#
# A cookie tells them, which nobody else can have made: it is signed with the hash of the user's
# password, so it is worth nothing once that is changed. It opens nothing. Who shows it is only
# counted apart from strangers, and so can log in while those guess (app/accounts/throttle.py).


DEVICE_SECONDS: Final = 400 * 86400
"""How long browsers keep it, which is as long as they keep anything."""


def issue_device_token(user_id: int, kept: str) -> str:
    """Make a token for the browser in which a user has just logged in; `kept`: the hash."""
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_signature(nonce, user_id, kept)}"


def verify_device_token(token: str, user_id: int, kept: str) -> str:
    """Return what to count this browser by; empty when it is not known."""
    nonce, _, signature = token.partition(".")
    wanted = _signature(nonce, user_id, kept)
    is_known = hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), wanted.encode())
    return nonce if is_known else ""


def _signature(nonce: str, user_id: int, kept: str) -> str:
    text = f"known device {user_id} {nonce}".encode("utf-8", "surrogatepass")
    return hmac.new(kept.encode(), text, hashlib.sha256).hexdigest()


# How a request shows the session that it belongs to: by a cookie, and what changes by a header too.
#
# Ports share cookies and Wick has many neighbours, so the names of ours carry the port. Under TLS
# they begin with `__Host-`: then no other host, not even a subdomain, can have set them. Below a
# base path they belong to that path, which `__Host-` forbids.


SESSION_COOKIE: Final = "login"
CSRF_COOKIE: Final = "form"
DEVICE_COOKIE: Final = "device"
STEP_COOKIE: Final = "step"
"""Of a login that waits for its second step."""
PASSKEY_COOKIE: Final = "passkey"
"""Of a challenge that a passkey is to sign."""
CSRF_HEADER: Final = "X-CSRF-Token"


def cookie_name(kind: str, port: int, *, is_secure: bool, is_alone: bool = True) -> str:
    """`is_alone`: nobody else shares this origin."""
    secure = "__Host-" if is_alone else "__Secure-"
    return f"{secure if is_secure else ''}wick-{kind}-{port}"


# What to call a browser in a list of logins: enough for its user to recognise it.


_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def describe_user_agent(user_agent: str) -> str:
    """Return words such as “Firefox on Linux”."""
    browser = next((name for sign, name in _BROWSERS if sign in user_agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    plain = re.sub(r"[^\w .()/-]", "", user_agent)[:40].strip()
    return browser or system or plain or "Unknown browser"


# Sessions: made, found again by a cookie's token, renewed, ended, and watched while they last.


log = logging.getLogger(__name__)
DAY: Final = 86400.0
MAX_AGE_SECONDS: Final = 90 * DAY
"""Seconds after which one has to log in again, and after which unused, ..."""
MAX_IDLE_SECONDS: Final = 14 * DAY
MAX_SESSIONS: Final = 100
"""Of one user; at the next login the one not used for longest ends."""
ROTATE_AFTER_SECONDS: Final = DAY
GRACE_SECONDS: Final = 60.0
"""... a token is changed; requests on their way with the old one are let through meanwhile."""
TOUCH_EVERY_SECONDS: Final = 60.0
CHECK_EVERY_SECONDS: Final = 10.0
"""How often the sessions of open sockets are looked at: they may have become too old."""


class Sessions:
    """One server's sessions. `changed` wakes whoever waits for one of them to end."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock
        self._watched: dict[int, list[asyncio.Event]] = {}

    async def create(
        self, user_id: int, device: str, address: str, method: str = "password"
    ) -> tuple[str, Session]:
        """The token for the cookie, which nobody can find out afterwards, and the session.

        Beyond MAX_SESSIONS, the user's sessions not used for longest end.
        """
        token, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(16), self._clock()
        digest = hash_token(token)

        async def add(connection: aiosqlite.Connection) -> int:
            added = await sessions.add(
                *(connection, user_id, digest, csrf, device, address, now, method)
            )
            return await sessions.end_oldest(connection, user_id, MAX_SESSIONS, added)

        if ended := await self._db.write(add):
            audit("oldest-logins-ended", user=user_id, count=ended)
            await self.check_watched()
        session = await sessions.get(self._db, digest, self._limits())
        if session is None:  # disabled or removed in this very moment
            raise SessionNotFound("This account is no longer available.")
        audit("login", user=user_id, login=session.id, address=address, method=method)
        return token, session

    async def authenticate(self, token: str) -> Session | None:
        """The session of a token that holds; it counts as used now."""
        digest = hash_token(token)
        session = await sessions.get(self._db, digest, self._limits())
        if session is None:
            return None
        now = self._clock()
        if (
            session.is_current
            and not session.is_confirmed
            and now - session.rotated_at > GRACE_SECONDS
        ):
            await self._db.try_write(lambda c: sessions.confirm(c, session.id, digest))
        if now - session.seen_at > TOUCH_EVERY_SECONDS:
            await self._db.try_write(lambda c: sessions.touch(c, session.id, now))
        return session

    async def rotate_token(self, session: Session, token: str) -> str | None:
        """A new token in the place of `token` when it is time for one.

        A browser that never got the new one may still come with the old one, and gets another.
        """
        age = self._clock() - session.rotated_at
        if age <= (ROTATE_AFTER_SECONDS if session.is_current else GRACE_SECONDS):
            return None
        new, shown, now = secrets.token_urlsafe(32), hash_token(token), self._clock()
        done = await self._db.try_write(
            lambda c: sessions.rotate(c, session, shown, hash_token(new), now)
        )
        return new if done else None

    async def is_active(self, session_id: int) -> bool:
        return bool(await sessions.active_ids(self._db, [session_id], self._limits()))

    async def touch(self, session_id: int) -> Session | None:
        """The session of a socket that a message has come from, if it still holds."""
        session = (await sessions.active_ids(self._db, [session_id], self._limits())).get(
            session_id
        )
        now = self._clock()
        if session is not None and now - session.seen_at > TOUCH_EVERY_SECONDS:
            await self._db.try_write(lambda c: sessions.touch(c, session_id, now))
        return session

    async def list_for_user(self, user_id: int) -> list[Session]:
        return await sessions.list_for_user(self._db, user_id, self._limits())

    async def revoke(self, user_id: int, session_id: int) -> None:
        """Raises SessionNotFound when it is none of this user's."""
        if not await self._db.write(lambda c: sessions.revoke(c, user_id, session_id)):
            raise SessionNotFound("This session has already ended.")
        audit("login-ended", user=user_id, login=session_id)
        await self.check_watched()

    async def revoke_all(self, user_id: int, *, besides: int = 0) -> None:
        await self._db.write(lambda c: sessions.revoke_all(c, user_id, besides=besides))
        audit("all-logins-ended", user=user_id, besides=besides or None)
        await self.check_watched()

    @contextmanager
    def watch(self, session_id: int) -> Iterator[asyncio.Event]:
        """An event that is set once the session has ended; that of no session (0) never."""
        ended = asyncio.Event()
        if not session_id:
            yield ended
            return
        self._watched.setdefault(session_id, []).append(ended)
        try:
            yield ended
        finally:
            self._watched[session_id].remove(ended)
            if not self._watched[session_id]:
                del self._watched[session_id]

    async def check_watched(self) -> None:
        """Tell those who watch a session that has ended."""
        watched = list(self._watched)
        if not watched:
            return
        live = await sessions.active_ids(self._db, watched, self._limits())
        for session_id in watched:
            if session_id not in live:
                for ended in self._watched.get(session_id, ()):
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
                    await self._db.write(lambda c: sessions.purge_expired(c, limits))  # noqa: B023
            except WickError as error:
                log.warning("The sessions could not be looked at: %s", error)
            await asyncio.sleep(CHECK_EVERY_SECONDS)

    def _limits(self) -> SessionLimits:
        now = self._clock()
        return SessionLimits(made_after=now - MAX_AGE_SECONDS, seen_after=now - MAX_IDLE_SECONDS)
