"""Wick without a server: its parts in this process, on the same data folder as the page's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.chats.asking import Asking
from app.chats.branches import Branches
from app.chats.exports import Exports
from app.chats.hub import Hub
from app.chats.search import Search
from app.chats.service import Chats
from app.chats.trash import Trash
from app.config import Settings
from app.inference.pool import Pool
from app.models.pulls import Pulls
from app.models.shelf import Shelf
from app.store.db import open_database

STOPPED = "Wick was stopped."
SAVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class House:
    """What the terminal works with when it works alone."""

    settings: Settings
    shelf: Shelf
    pulls: Pulls
    hub: Hub
    chats: Chats
    asking: Asking
    branches: Branches
    pool: Pool
    search: Search
    trash: Trash
    exports: Exports


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """The data folder must be owned by this process. At the end answers keep their text."""
    shelf = Shelf(settings.models_dir)
    hub, pulls = Hub(), Pulls(shelf)
    async with open_database(settings.database) as db:
        pool = Pool(settings, shelf, pulls)
        asking = Asking(settings, db, shelf, pulls, pool, hub)
        chats = Chats(db, hub, asking)
        await chats.recover()
        if settings.auto_pull and not shelf.models():
            pulls.try_start(settings.default_model)
        watch = asyncio.create_task(pool.remotes.keep_watch(), name="servers")
        try:
            yield House(
                settings,
                shelf,
                pulls,
                hub,
                chats,
                asking,
                Branches(db, hub, asking),
                pool,
                Search(db),
                Trash(db, pool, hub),
                Exports(db),
            )
        finally:
            watch.cancel()
            asking.close(STOPPED)
            pool.interrupt(STOPPED)
            await asyncio.gather(
                pool.close(STOPPED), asking.tasks.drain(SAVE_SECONDS), pulls.close()
            )
            await asyncio.gather(watch, return_exceptions=True)
