"""The server context: what pages work with, found on the running application."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final

from quart import current_app

from app.accounts.api_keys import ApiKeys
from app.accounts.external_identities import ExternalIdentities, ExternalIdentity
from app.accounts.oidc.providers import Providers
from app.accounts.one_time_codes import THROTTLE_SECONDS, OneTimeCodes
from app.accounts.passkeys import Passkeys
from app.accounts.passwords import Passwords
from app.accounts.provider_sessions import ProviderSessions
from app.accounts.sessions import Sessions
from app.accounts.throttle import LoginThrottle
from app.accounts.tickets import Tickets
from app.accounts.users import Users
from app.config import Settings, asset_dir
from app.conversations.account_deletion import AccountDeletion
from app.conversations.chat_services import ChatServices
from app.conversations.chats import Shares
from app.conversations.imports.imports import ImportedPictures, Imports
from app.conversations.imports.reader import ReadingLimits
from app.db.connection import Database
from app.media.piper import Piper
from app.metrics.snapshot import SnapshotCollector
from app.services import Job, Services
from app.web.bodies import ExportSpool
from app.web.readings import Readings
from app.web.render import markdown
from app.web.render.fragments import Fragments
from app.web.render.model_names import ModelNames
from app.web.render.streaming import StreamRenderers

SERVICE_RESTART: Final = 1012
RELOAD: Final = 4001
"""Closes the socket of a page that is to be loaded anew (static/early.js)."""
CLOSE_SECONDS: Final = 0.3
WARM_UP_AFTER_SECONDS: Final = 0.5


class ServerContext(Services):
    """One server: its services, who may come into it, and how it is shown to them.

    secret: known to whoever may read the data folder, for as long as this process lives.
    """

    def __init__(
        self, settings: Settings, db: Database, passwords: Passwords | None = None
    ) -> None:
        super().__init__(settings, db)
        pictures = ImportedPictures(self.pictures, self.decoder, self.media.sounds)
        limits = ReadingLimits(messages=settings.messages_per_chat)
        self.imports = Imports(db, self.hub, limits, pictures, self.storage)
        self.shares = Shares(db)
        self.account_deletion = AccountDeletion(
            *(settings, db, self.answers, self.pool, self.hub), self._end_temporary
        )
        self.sessions = Sessions(db)
        self.users = Users(db, self.sessions, passwords, LoginThrottle(settings.login_attempts))
        self.codes = OneTimeCodes(
            db,
            self.users,
            LoginThrottle(settings.login_attempts, reset_after=THROTTLE_SECONDS),
        )
        self.passkeys = Passkeys(db, self.users, LoginThrottle(settings.login_attempts))
        self.identities = ExternalIdentities(
            *(db, self.users),
            on_role_change=lambda user_id: self.hub.close(RELOAD, user_id),
        )
        self.providers = Providers(settings.providers)
        self.provider_sessions = ProviderSessions(db, self.sessions)
        self.pending_links: Tickets[tuple[int, ExternalIdentity]] = Tickets()
        self.api_keys = ApiKeys(db)
        self.fragments = Fragments(asset_dir("templates"), asset_dir("static"), settings.base_path)
        self.model_names = ModelNames(self.store, self.pulls.origins, self.hub)
        self.renderers = StreamRenderers(self.hub)
        self.piper = Piper(settings, self.media.threads)
        self.snapshot = SnapshotCollector(settings, self.backups.newest)
        self.meters.registry.register(self.snapshot)
        self.readings = Readings()
        self.spool = ExportSpool(settings.data_dir, settings.keep_free_bytes)
        self.secret = secrets.token_urlsafe(32)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with super().open():
            preparing = asyncio.create_task(_warm_up(), name="prepare")
            try:
                yield
            finally:
                preparing.cancel()
                await asyncio.gather(preparing, return_exceptions=True)
                await self.providers.close()

    async def _end_temporary(self, user_id: int) -> None:
        await self.temporary.end_all(user_id)

    def background_jobs(self) -> dict[str, Job]:
        return super().background_jobs() | {
            "trash": self.trash.run,
            "imports": self.imports.finish_periodically,
            "logins": self.sessions.run,
            "logins by providers": self.provider_sessions.run,
            "leaving": self.account_deletion.run,
        }

    async def close(self) -> None:
        """Close the services, then tell tabs that Wick restarts.

        Called before the server stops serving, so that sockets get a proper goodbye.
        """
        if self.is_closing:
            return
        await super().close()
        # Tabs go last: one that is told to come back would do so while the server still listens.
        self.hub.close(SERVICE_RESTART)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.hub.wait_until_empty()


async def _warm_up() -> None:
    """Load what the first answer needs and the first page does not, once that page is out."""
    await asyncio.sleep(WARM_UP_AFTER_SECONDS)
    await asyncio.to_thread(markdown.warm_up)


def server_context() -> ServerContext:
    found: ServerContext = current_app.extensions["wick"]
    return found


def services_of(chat_id: str) -> ChatServices:
    """Return what this chat is read and changed with: on the disk, or in memory."""
    return server_context().of(chat_id)
