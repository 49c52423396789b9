"""Into the server of this machine where people log in: whoever may write its database is let in."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from app.accounts.keys import SCOPES, Keys
from app.config import Settings
from app.errors import KeyNotFound
from app.store.db import open_database
from app.store.people import LOCAL_USER

NAME: Final = "wick chat at this machine"
LEFT_OVER: Final = 7 * 86400.0
"""Seconds after which a key that was not used was left by one that could not revoke it."""


@asynccontextmanager
async def owners_key(settings: Settings) -> AsyncIterator[str]:
    """An API key of the owner, for as long as it takes."""
    async with open_database(settings.database, is_guest=True) as db:
        keys = Keys(db)
        for old in await keys.of(LOCAL_USER):
            if old.name == NAME and time.time() - (old.used_at or old.created_at) > LEFT_OVER:
                await keys.revoke(LOCAL_USER, old.id)
        secret, key = await keys.add(LOCAL_USER, NAME, SCOPES)
    try:
        yield secret
    finally:
        async with open_database(settings.database, is_guest=True) as db:
            with suppress(KeyNotFound):
                await Keys(db).revoke(LOCAL_USER, key.id)


def trust_in(settings: Settings) -> ssl.SSLContext:
    """The server's own certificate, whatever name it is for: this is this very machine."""
    context = ssl.create_default_context(cafile=settings.tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
