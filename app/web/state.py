"""What the screens work with, found on the running application."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final

from quart import current_app

from app.accounts.keys import Keys
from app.accounts.logins import Logins
from app.accounts.people import People
from app.accounts.throttle import Throttle
from app.chats.house import House, Watch
from app.chats.imports import Imports
from app.chats.leaving import Leaving
from app.chats.shares import Shares
from app.config import Settings
from app.paths import asset_dir
from app.store.db import Database
from app.web import markdown
from app.web.fragments import Fragments
from app.web.growing import Growing

SERVICE_RESTART: Final = 1012
GOODBYE_SECONDS: Final = 0.3
PREPARE_AFTER: Final = 0.5


class State(House):
    """One server: the house, who may come into it, and how it is shown to them.

    secret: known to whoever may read the data folder, for as long as this process lives.
    """

    def __init__(self, settings: Settings, db: Database) -> None:
        super().__init__(settings, db)
        self.imports = Imports(db, self.hub)
        self.shares = Shares(db)
        self.leaving = Leaving(settings, db, self.asking, self.pool, self.hub)
        self.logins = Logins(db)
        self.people = People(db, self.logins, throttle=Throttle(settings.login_attempts))
        self.keys = Keys(db)
        self.fragments = Fragments(asset_dir("templates"), asset_dir("static"), settings.base_path)
        self.growing = Growing(self.hub)
        self.secret = secrets.token_urlsafe(32)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with super().open():
            preparing = asyncio.create_task(_prepare(), name="prepare")
            try:
                yield
            finally:
                preparing.cancel()
                await asyncio.gather(preparing, return_exceptions=True)

    def watches(self) -> dict[str, Watch]:
        return super().watches() | {
            "trash": self.trash.keep_watch,
            "imports": self.imports.keep_watch,
            "logins": self.logins.keep_watch,
            "leaving": self.leaving.keep_watch,
        }

    async def close(self) -> None:
        """The same, and tabs are told that Wick restarts.

        Called before the server stops serving, so that sockets get a proper goodbye.
        """
        if self.is_closing:
            return
        await super().close()
        # Tabs go last: one that is told to come back would do so while the server still listens.
        self.hub.close(SERVICE_RESTART)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self.hub.all_gone()


async def _prepare() -> None:
    """What the first answer needs and the first page does not, as soon as that is out."""
    await asyncio.sleep(PREPARE_AFTER)
    await asyncio.to_thread(markdown.prepare)


def state() -> State:
    found: State = current_app.extensions["wick"]
    return found
