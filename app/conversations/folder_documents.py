"""Documents of folders: added, replaced, removed and shared. All reaches only a user's own folders,
but for reading what another shares."""

from __future__ import annotations

import time
from typing import Final

from app.conversations.attachments import Attachments
from app.conversations.passages import Passages
from app.db import folder_documents
from app.db.attachments import Attachment
from app.db.connection import Database
from app.db.folder_documents import FolderDocument, SharedFolder
from app.errors import AttachmentNotFound, AttachmentRefused, ChatNotFound

MAX_DOCUMENTS: Final = 200
"""Documents of one folder."""
NO_FOLDER: Final = "There is no such folder."


class FolderDocuments:
    """The verbs add, remove, share and use."""

    def __init__(self, db: Database, files: Attachments, index: Passages) -> None:
        self._db = db
        self._files = files
        self._index = index

    async def all(self, user_id: int, folder_id: int) -> list[FolderDocument]:
        """List the documents that the chats of a folder can use, its own first."""
        return await folder_documents.list_all(self._db, user_id, folder_id)

    async def get(self, user_id: int, folder_id: int, file_id: int) -> FolderDocument:
        """Raises AttachmentNotFound."""
        found = await folder_documents.find(self._db, user_id, folder_id, file_id)
        if found is None:
            raise AttachmentNotFound("There is no such document.")
        return found

    async def add(self, user_id: int, folder_id: int, name: str, data: bytes) -> Attachment:
        """Add a document, in the place of one of the same name. Raises AttachmentRefused,
        ChatNotFound, StorageFull."""
        own = [one for one in await self.all(user_id, folder_id) if not one.owner]
        if len(own) >= MAX_DOCUMENTS:
            raise AttachmentRefused(
                f"This folder has {MAX_DOCUMENTS} documents, the limit. Remove some first."
            )
        file = await self._files.read_text(user_id, name, data)
        now = time.time()
        added = await self._db.write(
            lambda c: folder_documents.add(c, user_id, folder_id, file, now)
        )
        if added is None:
            raise ChatNotFound(NO_FOLDER)
        found = await self._files.get(user_id, added)
        self._index.prepare(user_id, [found])
        return found

    async def remove(self, user_id: int, folder_id: int, file_id: int) -> None:
        """Raises AttachmentNotFound."""
        if not await self._db.write(
            lambda c: folder_documents.remove(c, user_id, folder_id, file_id)
        ):
            raise AttachmentNotFound("There is no such document.")

    async def share(self, user_id: int, folder_id: int, *, is_shared: bool) -> None:
        """Let other users' folders use these documents, or no longer. Raises ChatNotFound."""
        if not await self._db.write(
            lambda c: folder_documents.share(c, user_id, folder_id, is_shared=is_shared)
        ):
            raise ChatNotFound(NO_FOLDER)

    async def is_shared(self, user_id: int, folder_id: int) -> bool:
        return await folder_documents.is_shared(self._db, user_id, folder_id)

    async def use(self, user_id: int, folder_id: int, source_id: int, *, is_used: bool) -> None:
        """Have a folder use what another user shares, or no longer. Raises ChatNotFound."""
        if not await self._db.write(
            lambda c: folder_documents.use(c, user_id, folder_id, source_id, is_used=is_used)
        ):
            raise ChatNotFound("This folder is not shared.")

    async def shared_by_others(self, user_id: int, folder_id: int) -> list[SharedFolder]:
        """List the folders of others that this one may use."""
        return await folder_documents.list_shared(self._db, user_id, folder_id)
