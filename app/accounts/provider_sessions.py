"""Sessions that OpenID providers have begun, and how they end: on either side, or by age."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from app.accounts.sessions import Sessions
from app.accounts.tickets import Tickets
from app.audit import audit
from app.db import provider_sessions
from app.db.connection import Database
from app.db.provider_sessions import ProviderSession
from app.errors import WickError

log = logging.getLogger(__name__)
CHECK_EVERY_SECONDS: Final = 30.0


class ProviderSessions:
    """Origins of the sessions that providers began: what it takes to end them, and when."""

    def __init__(
        self, db: Database, sessions: Sessions, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._sessions = sessions
        self._clock = clock
        self._ended: Tickets[ProviderSession] = Tickets()

    async def add(
        self,
        login_id: int,
        *,
        provider: str,
        issuer: str,
        subject: str,
        session: str,
        id_token: str,
        seconds: float,
    ) -> None:
        """Keep what a session has come from; it ends after `seconds`."""
        ends_at = self._clock() + seconds
        kept = ProviderSession(login_id, provider, issuer, subject, session, id_token, ends_at)
        await self._db.write(lambda c: provider_sessions.add(c, kept))

    async def prepare_logout(self, user_id: int, login_id: int) -> str:
        """Return a ticket by which the user of a session that ends now may end the provider's own
        session, too; empty for a session that no provider began."""
        kept = await provider_sessions.get(self._db, user_id, login_id)
        return "" if kept is None else self._ended.issue(user_id, kept)

    def find_logout(self, ticket: str) -> ProviderSession | None:
        return self._ended.find(ticket)

    async def end(self, provider: str, issuer: str, subject: str, session: str) -> int:
        """End the sessions that a provider says it has ended. Return how many."""
        ended = await self._db.write(lambda c: provider_sessions.end(c, issuer, subject, session))
        await self._report(ended, provider)
        return len(ended)

    async def end_old(self) -> None:
        """End the sessions whose time is over."""
        now = self._clock()
        await self._report(await self._db.write(lambda c: provider_sessions.end_old(c, now)), "age")

    async def _report(self, ended: list[tuple[int, int]], by: str) -> None:
        for login_id, user_id in ended:
            audit("login-ended", user=user_id, login=login_id, by=by)
        if ended:
            await self._sessions.check_watched()

    async def run(self) -> None:
        """End old sessions again and again, until cancelled."""
        while True:
            try:
                await self.end_old()
            except WickError as error:
                log.warning("Old sessions of providers could not be ended: %s", error)
            await asyncio.sleep(CHECK_EVERY_SECONDS)
