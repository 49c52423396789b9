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
from app.store.owner import ServerInfo, lock_data_folder, read_owner

CHAT_COMMAND: Final = "wick chat"
STARTING_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.1


async def acquire_or_discover(folder: Path, command: str, stack: ExitStack) -> ServerInfo | None:
    """Own the data folder (None), or else the server that does. One that is just starting, and a
    command that is soon done, are waited for.

    Raises DataFolderInUse while a `wick chat` works alone on it.
    """
    for _ in range(round(STARTING_SECONDS / POLL_SECONDS)):
        try:
            stack.enter_context(lock_data_folder(folder, command))
            return None
        except DataFolderInUse:
            owner = read_owner(folder)
            if owner is not None and owner.url:
                return owner
            if owner is not None and owner.command == CHAT_COMMAND:
                raise
        await asyncio.sleep(POLL_SECONDS)
    raise DataFolderInUse(f"The Wick that owns {folder} is not ready yet. Try again, please.")


def client_options(settings: Settings, url: str, secret: str) -> dict[str, Any]:
    """What httpx needs to speak to the server of this machine: over there, and as an owner if
    `secret` is what its card says."""
    place = urlsplit(url)
    origin = f"{place.scheme}://{place.netloc}"
    headers = {"Origin": origin, "Accept": "application/json, text/plain"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    # No proxy is on the way to this very machine.
    trust = tls_context(settings)
    return {"base_url": url, "headers": headers, "verify": trust, "trust_env": False}


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The server's own certificate, whatever name it is for: this is this very machine."""
    context = ssl.create_default_context(cafile=settings.tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
