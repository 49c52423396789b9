"""Which Wick the terminal talks to: a server that was named, one that runs here, or none."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.chats.house import open_services
from app.config import Settings
from app.errors import DataFolderInUse
from app.inference.scratch import scratch
from app.terminal.backend import Backend
from app.terminal.entry import CHAT_COMMAND, acquire_or_discover, tls_context
from app.terminal.local import LocalBackend
from app.terminal.remote import connect

LOG: Final = "chat.log"


@asynccontextmanager
async def open_backend(
    settings: Settings, url: str, key: str, *, is_kept: bool
) -> AsyncIterator[Backend]:
    """`url`: of a server, empty to look for one; is_kept: chats are to stay.

    Raises DataFolderInUse while another `wick chat` works alone on the same data folder.
    """
    async with AsyncExitStack() as stack:
        own = stack.enter_context(ExitStack())
        trust = None
        try:
            owner = None if url else await acquire_or_discover(settings.data_dir, CHAT_COMMAND, own)
        except DataFolderInUse:
            if is_kept:
                raise
        else:
            if owner is not None:
                url, key = owner.url, key or owner.secret
                trust = tls_context(settings) if settings.tls_cert else None
        if url:
            yield await stack.enter_async_context(connect(url, key, trust))
            return
        if is_kept:
            _log_to(settings.data_dir / LOG)
        else:
            own.close()
            folder = stack.enter_context(scratch("wick-chat-"))
            settings = replace(settings, data_dir=folder)
        yield LocalBackend(await stack.enter_async_context(open_services(settings)))


def _log_to(path: Path) -> None:
    """What goes wrong inside is for a file and not for the screen."""
    path.touch(mode=0o600)
    logging.basicConfig(
        filename=path, level="WARNING", format="%(asctime)s %(levelname)-7s %(message)s"
    )
