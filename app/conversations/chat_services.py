"""The services of chats on one database: what chats are read, asked, branched and copied with."""

from __future__ import annotations

from app.config import Settings
from app.conversations.answers import AnswerService
from app.conversations.attachments import Attachments
from app.conversations.branches import Branches
from app.conversations.chat_copies import ChatCopies
from app.conversations.chats import ChatService
from app.conversations.document_fit import DocumentFitter
from app.conversations.document_search import DocumentSearch
from app.conversations.hub import Hub
from app.conversations.passage_vectors import PassageVectors
from app.conversations.passages import Passages
from app.conversations.pictures import Pictures
from app.conversations.storage_quota import StorageQuota
from app.conversations.titles import TitleMode
from app.db.connection import Database
from app.disk_reserve import Reserve
from app.documents.reader import DocumentReader
from app.inference.worker_pool import WorkerPool
from app.media.pictures import PictureDecoder
from app.media.sounds import SoundDecoder
from app.models.install.pulls import PullManager
from app.models.store import ModelStore
from app.tools.toolbox import Toolbox


class ChatServices:
    """A server has two of these: for chats on the disk, and for temporary ones in memory. They
    share its models, its queues and its hub.

    are_temporary: which of the two this is. owner_db: where users' preferences are. titles: whether
    models write titles for its chats.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        store: ModelStore,
        pulls: PullManager,
        pool: WorkerPool,
        hub: Hub,
        reserve: Reserve,
        pictures: Pictures,
        decoder: PictureDecoder,
        reader: DocumentReader,
        toolbox: Toolbox,
        *,
        storage: StorageQuota,
        titles: TitleMode,
        owner_db: Database,
        sounds: SoundDecoder,
        are_temporary: bool = False,
    ) -> None:
        self.vectors = PassageVectors(db, store, pool)
        self.passages = Passages(db, self.vectors)
        self.document_search = DocumentSearch(db, self.passages)
        self.answers = AnswerService(
            settings,
            db,
            store,
            pulls,
            pool,
            hub,
            reserve,
            titles,
            pictures,
            DocumentFitter(db, self.document_search, self.passages),
            toolbox,
            are_temporary=are_temporary,
            owner_db=owner_db,
            storage=storage,
        )
        self.chats = ChatService(db, hub, self.answers, are_temporary=are_temporary)
        self.branches = Branches(db, hub, self.answers)
        self.pictures = pictures
        self.attachments = Attachments(
            db, pictures, decoder, reader, self.passages, storage, sounds
        )
        self.copies = ChatCopies(db, hub, storage, are_temporary=are_temporary)
