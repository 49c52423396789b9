"""How a command speaks to the server of this machine: over HTTP, as one of its owners."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from app.accounts.logins import Logins
from app.accounts.shown import CSRF_HEADER, LOGIN, cookie_name
from app.config import Settings
from app.errors import LoginNotFound
from app.store import people
from app.store.db import open_database
from app.store.logins import Login
from app.terminal.entry import trust_in

DEVICE: Final = "wick at this machine"


@contextmanager
def admitted(settings: Settings, timeout: float) -> Iterator[httpx.Client]:
    """A client for `settings.local_url`. Whoever may write the database may come in as the owner:
    where people log in, so does the command, for as long as it takes."""
    url = settings.local_url
    entry = asyncio.run(_log_in(settings)) if settings.has_accounts else None
    headers = {"Origin": url}
    cookies = {}
    if entry is not None:
        headers[CSRF_HEADER] = entry[1].csrf
        is_secure = settings.tls_cert is not None
        cookies[cookie_name(LOGIN, settings.port, is_secure=is_secure)] = entry[0]
    try:
        with httpx.Client(
            base_url=url,
            headers=headers,
            cookies=cookies,
            timeout=timeout,
            verify=trust_in(settings),
            trust_env=False,  # a proxy is not on the way to this very machine
        ) as client:
            yield client
    finally:
        if entry is not None:
            asyncio.run(_log_out(settings, entry[1]))


async def _log_in(settings: Settings) -> tuple[str, Login] | None:
    """None while there is no owner."""
    async with open_database(settings.database, is_guest=True) as db:
        for person in await people.everybody(db):
            if person.role == "owner" and person.disabled_at is None:
                return await Logins(db).begin(person.id, DEVICE, "")
    return None


async def _log_out(settings: Settings, login: Login) -> None:
    async with open_database(settings.database, is_guest=True) as db:
        with contextlib.suppress(LoginNotFound):
            await Logins(db).end(login.user_id, login.id)
