"""Into the server of this machine: whoever may read its data folder is let in."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from app.config import Settings
from app.errors import DataFolderInUse
from app.store.owner import Owner, owned, owner_of

CHAT: Final = "wick chat"
STARTING_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.1


async def own_or_find(folder: Path, command: str, stack: ExitStack) -> Owner | None:
    """Own the data folder (None), or else the server that does. One that is just starting, and a
    command that is soon done, are waited for.

    Raises DataFolderInUse while a `wick chat` works alone on it.
    """
    for _ in range(round(STARTING_SECONDS / POLL_SECONDS)):
        try:
            stack.enter_context(owned(folder, command))
            return None
        except DataFolderInUse:
            owner = owner_of(folder)
            if owner is not None and owner.url:
                return owner
            if owner is not None and owner.command == CHAT:
                raise
        await asyncio.sleep(POLL_SECONDS)
    raise DataFolderInUse(f"The Wick that owns {folder} is not ready yet. Try again, please.")


def way_in(settings: Settings, url: str, secret: str) -> dict[str, Any]:
    """What httpx needs to speak to the server of this machine: over there, and as an owner if
    `secret` is what its card says."""
    place = urlsplit(url)
    origin = f"{place.scheme}://{place.netloc}"
    headers = {"Origin": origin, "Accept": "application/json, text/plain"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    # No proxy is on the way to this very machine.
    trust = trust_in(settings)
    return {"base_url": url, "headers": headers, "verify": trust, "trust_env": False}


def trust_in(settings: Settings) -> ssl.SSLContext:
    """The server's own certificate, whatever name it is for: this is this very machine."""
    context = ssl.create_default_context(cafile=settings.tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
