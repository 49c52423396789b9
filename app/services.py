"""Services: all parts of Wick and how they are wired, for a server or a terminal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from app.backup.schedule import BackupSchedule
from app.config import Settings
from app.conversations.attachments import Attachments
from app.conversations.chat_services import ChatServices
from app.conversations.chats import Trash
from app.conversations.exports import Exports
from app.conversations.folder_documents import FolderDocuments
from app.conversations.folders import Folders
from app.conversations.hub import Hub
from app.conversations.kept_chats import KeptChats
from app.conversations.library_files import LibraryFiles
from app.conversations.personas import Personas
from app.conversations.pictures import Pictures
from app.conversations.quotas import Quotas
from app.conversations.saved_prompts import SavedPrompts
from app.conversations.search import ChatSearch
from app.conversations.search_tool import SearchTools
from app.conversations.storage_quota import StorageQuota
from app.conversations.stored_responses import StoredResponses
from app.conversations.temporary import TemporaryChats
from app.conversations.titles import TitleMode
from app.db.connection import Database
from app.db.temporary import FIRST_ID, open_temporary_database
from app.disk_reserve import Reserve
from app.documents.reader import DocumentReader
from app.inference.engine_meter import EngineMeter
from app.inference.kv_files import is_memory_only
from app.inference.queue import Request
from app.inference.tokenization import Tokenization
from app.inference.worker_pool import WorkerPool
from app.media.picture_files import HeldPictures, PictureFolder, PictureMemory
from app.media.pictures import PictureDecoder
from app.media.service import MediaService
from app.metrics.meters import Meters
from app.models import memory
from app.models.found import FoundModels
from app.models.install.pulls import PullManager
from app.models.store import ModelStore
from app.tools.builtin import BuiltinTools
from app.tools.mcp.admin import McpAdmin
from app.tools.mcp.library import McpLibrary
from app.tools.mcp.servers import McpServers
from app.tools.mcp.source import McpSource
from app.tools.toolbox import Toolbox

log = logging.getLogger(__name__)
STOPPED: Final = "Wick was stopped."
SAVE_SECONDS: Final = 1.0
DISK_CHECK_SECONDS: Final = 3.0
UNSAVED: Final = (
    "The end of answer %d in chat %s could not be saved and is lost: of %d characters only those"
    " stay that had been saved on the way."
)
RESTART_SECONDS: Final = 5.0
"""Seconds after which one that broke off begins anew."""
Job = Callable[[], Awaitable[None]]


class Services:
    """Parts that chats need, on one database, in a data folder that this process owns.

    is_closing: set once it is being stopped. clock: by which days are counted for quotas.
    """

    def __init__(
        self, settings: Settings, db: Database, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self._db = db
        self.is_closing = False
        self.reserve = Reserve(settings.data_dir, settings.keep_free_bytes)
        self.store = ModelStore(settings.models_dir, settings.keep_free_bytes)
        self.hub = Hub()
        self.pulls = PullManager(
            self.store, is_public=settings.has_accounts, budget=memory.budget(settings)
        )
        self.pulls.listeners.append(self.hub.models_changed)
        self.found = FoundModels()
        self.quotas = Quotas(settings, db, self._requests, self.hub, clock)
        self.pool = WorkerPool(settings, self.store, self.pulls, self.quotas)
        self.pool.listeners.append(self.hub.models_changed)
        self.meters = Meters()
        self.pool.observers.append(self.meters.count_usage)
        self.media = MediaService(settings, self.pool)
        self.media.listeners.append(self.hub.models_changed)
        self.decoder = PictureDecoder(self.media.threads)
        self.tokenization = Tokenization()
        self.reader = DocumentReader(self.media, self.media.threads.hold)
        self.held_pictures = HeldPictures()
        self.search = ChatSearch(db)
        self.mcp_servers = McpServers(settings, db)
        self.mcp_admin = McpAdmin(self.mcp_servers, db)
        self.mcp_library = McpLibrary(self.mcp_servers)
        self.toolbox = Toolbox(
            BuiltinTools(settings, self.reader),
            SearchTools(self.search, lambda chat_id: self.of(chat_id).document_search),
            McpSource(self.mcp_servers),
        )
        self.pictures = Pictures(db, PictureFolder(settings.data_dir / "pictures"))
        self.storage = StorageQuota(settings, db, self.reserve)
        self.saved = self._chat_services(db, self.pictures, titles=settings.titles)
        self.answers, self.chats = self.saved.answers, self.saved.chats
        self.branches, self.copies = self.saved.branches, self.saved.copies
        self.attachments = self.saved.attachments
        self.saved_prompts = SavedPrompts(db)
        self.personas = Personas(db)
        self.library_files = LibraryFiles(self.saved_prompts, self.personas)
        self._temporary: TemporaryChats | None = None
        self._kept: KeptChats | None = None
        self.folders = Folders(db, self.hub)
        self.folder_documents = FolderDocuments(db, self.attachments, self.saved.passages)
        self.trash = Trash(db, self.pool, self.hub)
        self.responses = StoredResponses(db)
        self.exports = Exports(db, self.pictures.files)
        self.backups = BackupSchedule(settings, self.hub.models_changed)

    def _chat_services(
        self, db: Database, pictures: Pictures, titles: TitleMode, *, are_temporary: bool = False
    ) -> ChatServices:
        shared = self.store, self.pulls, self.pool, self.hub, self.reserve
        return ChatServices(
            *(self.settings, db, *shared, pictures, self.decoder, self.reader, self.toolbox),
            storage=self.storage,
            titles=titles,
            are_temporary=are_temporary,
            owner_db=self._db,
            sounds=self.media.sounds,
        )

    @property
    def temporary(self) -> TemporaryChats:
        """The chats in memory, while the services are open."""
        assert self._temporary is not None  # noqa: S101 - `open` makes it
        return self._temporary

    @property
    def kept(self) -> KeptChats:
        """The temporary chats that are kept, while the services are open."""
        assert self._kept is not None  # noqa: S101 - `open` makes it
        return self._kept

    def of(self, chat_id: str) -> ChatServices:
        """Return what a chat is read, asked and changed with: its id says where it is kept."""
        return self.temporary.use(chat_id) if is_memory_only(chat_id) else self.saved

    def attachments_of(self, attachment_id: int) -> Attachments:
        """Return where a file is kept: ids say it, too."""
        is_temporary = attachment_id > FIRST_ID
        return self.temporary.services.attachments if is_temporary else self.attachments

    def _requests(self, user_id: int) -> list[Request]:
        """List a user's requests: quotas count them, and the pool asks quotas."""
        return self.pool.requests(user_id)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open all services; afterwards nothing runs any more, and answers have kept their text."""
        async with open_temporary_database() as memory_db:
            in_memory = Pictures(memory_db, PictureMemory())
            chats = self._chat_services(memory_db, in_memory, "off", are_temporary=True)
            grace = self.settings.temporary_grace
            self._temporary = TemporaryChats(chats, memory_db, self.pool, self.hub, grace)
            self._kept = KeptChats(
                *(self._temporary, memory_db, self.saved, self._db, self.hub), self.storage
            )
            async with self._started():
                yield

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        await self._check_disk()
        await self.quotas.load()
        await self.chats.recover_interrupted()
        if self.settings.auto_pull and not self.store.models():
            self.pulls.try_start(self.settings.default_model)
        await self.answers.requeue()
        watches = [
            asyncio.create_task(_supervise(name, watch), name=name)
            for name, watch in self.background_jobs().items()
        ]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            await self.close()
            await asyncio.gather(*watches, return_exceptions=True)

    def background_jobs(self) -> dict[str, Job]:
        """List the jobs that run while the services are open, by name."""
        jobs: dict[str, Job] = {
            "servers": self.pool.remotes.run,
            "the disk": self._monitor_disk,
            "temporary chats": self.temporary.run,
            "pictures": self.pictures.run,
            "stored responses": self.responses.run,
            "tool servers": self.mcp_servers.run,
            "passages": self.saved.passages.run,
            "passages in memory": self.temporary.services.passages.run,
            "vectors": self.saved.vectors.run,
            "vectors in memory": self.temporary.services.vectors.run,
        }
        if self.settings.backup_dir is not None:
            jobs["backups"] = self.backups.run
        if self.settings.measure_engines:
            meter = EngineMeter(self.store, self.pool, self._engine_changed)
            self.pulls.listeners.append(meter.models_changed)
            self.pool.listeners.append(meter.models_changed)  # memory may be free again
            jobs["engines"] = meter.run
        return jobs

    def _engine_changed(self, name: str) -> None:
        self.pool.settings_changed(name)
        self.hub.models_changed()

    async def _monitor_disk(self) -> None:
        while True:
            await asyncio.sleep(DISK_CHECK_SECONDS)
            await self._check_disk()

    async def _check_disk(self) -> None:
        if await asyncio.to_thread(self.reserve.refresh):
            log.warning("%s", self.reserve.sentence or "There is space on the disk again.")
            self.hub.models_changed()

    async def close(self) -> None:
        """Stop everything; answers keep their text. Safe to call again."""
        if self.is_closing:
            return
        self.is_closing = True
        await asyncio.to_thread(self.reserve.refresh)  # what runs is to be saved
        self.answers.close()
        self.temporary.services.answers.close()
        self.pool.interrupt(STOPPED)
        await asyncio.gather(
            self.pool.close(STOPPED),
            self.media.close(),
            self.mcp_servers.close(),
            self.answers.tasks.drain(SAVE_SECONDS),
            self.temporary.services.answers.tasks.drain(SAVE_SECONDS),
            self.quotas.tasks.drain(SAVE_SECONDS),
            self.saved.passages.tasks.drain(SAVE_SECONDS),
            self.temporary.services.passages.tasks.drain(SAVE_SECONDS),
            self.pulls.close(),
        )
        for stream in self.hub.streams():
            log.error(UNSAVED, stream.message_id, stream.chat_id, len(stream.text))


async def _supervise(name: str, job: Job) -> None:
    """Run a job; log a failure and start it again."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("The background job for %s failed; restarting it.", name)
        await asyncio.sleep(RESTART_SECONDS)
