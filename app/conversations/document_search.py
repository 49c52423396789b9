"""Search in the documents that a chat can use: files of its messages, and those of its folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.conversations.passages import Passages
from app.db import folder_documents, folders, passages
from app.db.attachments import Attachment
from app.db.connection import Database
from app.db.folder_documents import FolderDocument
from app.db.passages import StoredDocument, StoredPassage
from app.documents.kinds import unit_of


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage of a document. page: 0 where it has none; unit: what its pages are called."""

    file: str
    file_id: int
    page: int
    unit: str
    text: str


@dataclass(frozen=True, slots=True)
class Searchable:
    """A file with its passages, and whose it is."""

    file: Attachment
    user_id: int
    document: StoredDocument


class DocumentSearch:
    def __init__(self, db: Database, index: Passages) -> None:
        self._db = db
        self._index = index

    async def find(
        self, user_id: int, chat_id: str, query: str, limit: int = 8
    ) -> list[FoundPassage]:
        """Find the passages that fit a query best, the best first, in all that a chat of this user
        can use. Raises SearchTooLong or StoreError."""
        return await self.find_in(await self.usable(user_id, chat_id), query, limit)

    async def usable(self, user_id: int, chat_id: str) -> list[FolderDocument]:
        """List all that a chat of this user can use: its own files, then those of its folder."""
        files = await folder_documents.in_chat(self._db, user_id, chat_id)
        own = [FolderDocument(file, user_id, "") for file in files]
        return own + await self.in_folder_of(user_id, chat_id)

    async def passages(self, one: Searchable, numbers: Iterable[int]) -> list[StoredPassage]:
        """Read passages of a file, in their order."""
        return await passages.of_document(self._db, one.user_id, one.document.id, numbers)

    async def in_folder_of(self, user_id: int, chat_id: str) -> list[FolderDocument]:
        """List the documents of the folder that a chat is in."""
        folder = await folders.of_chat(self._db, user_id, chat_id, None)
        if folder is None:
            return []
        return await folder_documents.list_all(self._db, user_id, folder.id)

    async def find_in(
        self, files: Sequence[FolderDocument], query: str, limit: int
    ) -> list[FoundPassage]:
        """Find passages of these files."""
        some = await self.prepared(files)
        by_document = {one.document.id: one.file for one in reversed(some)}
        ranked = await self._index.search(scope_of(some), query, limit)
        return [_found(passage, by_document[passage.document_id]) for passage in ranked]

    async def prepared(self, files: Sequence[FolderDocument]) -> list[Searchable]:
        """Have passages of these files, of whosever they are."""
        by_user = defaultdict[int, list[Attachment]](list)
        for one in files:
            by_user[one.user_id].append(one.file)
        documents = dict[int, StoredDocument]()
        for user_id, some in by_user.items():
            documents |= await self._index.ensure(user_id, some)
        return [
            Searchable(one.file, one.user_id, documents[one.file.id])
            for one in files
            if one.file.id in documents
        ]


def _found(passage: StoredPassage, file: Attachment) -> FoundPassage:
    unit = unit_of(file.media_type).lower()
    return FoundPassage(file.name, file.id, passage.page, unit, passage.text.strip())


def scope_of(files: Sequence[Searchable]) -> dict[int, list[int]]:
    """The documents of files by the users whose they are."""
    scope = defaultdict[int, list[int]](list)
    for one in files:
        if one.document.id not in scope[one.user_id]:
            scope[one.user_id].append(one.document.id)
    return dict(scope)
