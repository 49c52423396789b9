"""Which Wick the terminal talks to: a server that was named, one that runs here, or none."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.chats.house import open_house
from app.config import Settings
from app.errors import DataFolderInUse
from app.store.owner import owned, owner_of
from app.terminal.backend import Backend
from app.terminal.entry import owners_key, trust_in
from app.terminal.local import Local
from app.terminal.remote import connected

COMMAND: Final = "wick chat"
LOG: Final = "chat.log"
STARTING_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.1


@asynccontextmanager
async def found_backend(
    settings: Settings, url: str, key: str, *, is_kept: bool
) -> AsyncIterator[Backend]:
    """`url`: of a server, empty to look for one; is_kept: chats are to stay.

    Raises DataFolderInUse while another `wick chat` works alone on the same data folder.
    """
    async with AsyncExitStack() as stack:
        own = stack.enter_context(ExitStack())
        is_own = not url
        try:
            url = url or await _own(settings.data_dir, own)
        except DataFolderInUse:
            if is_kept:
                raise
        if url:
            trust = trust_in(settings) if is_own and settings.tls_cert else None
            backend = await stack.enter_async_context(connected(url, key, trust))
            if is_own and not key and not await backend.is_welcome():
                key = await stack.enter_async_context(owners_key(settings))
                backend = await stack.enter_async_context(connected(url, key, trust))
            yield backend
            return
        if is_kept:
            _log_to(settings.data_dir / LOG)
        else:
            own.close()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wick-chat-"))
            settings = replace(settings, data_dir=Path(folder))
        yield Local(await stack.enter_async_context(open_house(settings)))


async def _own(folder: Path, stack: ExitStack) -> str:
    """Own the data folder, or else where its server is. One that is just starting is waited for."""
    for _ in range(round(STARTING_SECONDS / POLL_SECONDS)):
        try:
            stack.enter_context(owned(folder, COMMAND))
            return ""
        except DataFolderInUse:
            owner = owner_of(folder)
            if owner is not None and owner.url:
                return owner.url
            if owner is not None and owner.command == COMMAND:
                raise
        await asyncio.sleep(POLL_SECONDS)
    raise DataFolderInUse(f"The Wick that owns {folder} is not ready yet. Try again, please.")


def _log_to(path: Path) -> None:
    """What goes wrong inside is for a file and not for the screen."""
    path.touch(mode=0o600)
    logging.basicConfig(
        filename=path, level="WARNING", format="%(asctime)s %(levelname)-7s %(message)s"
    )
