"""Temporary chats that are kept after all: they become ordinary ones, on the disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import aiosqlite

from app.background import BackgroundTasks
from app.conversations.chat_services import ChatServices
from app.conversations.chats import new_chat_id
from app.conversations.hub import Hub
from app.conversations.storage_quota import StorageQuota
from app.conversations.temporary import TemporaryChats
from app.db import attachments, branches, chat_copies, chats, import_holders
from app.db.attachments import Attachment, NewAttachment
from app.db.chats import Chat
from app.db.connection import Database
from app.db.messages import Message
from app.errors import ChatBusy, ChatNotFound
from app.media.picture_files import THUMBNAIL_TYPE, PictureFiles
from app.media.pictures import Picture

GONE = "This temporary chat has ended."


class KeptChats:
    """Moves a temporary chat to the disk: all its branches, settings and files, or nothing."""

    def __init__(
        self,
        temporary: TemporaryChats,
        memory: Database,
        saved: ChatServices,
        db: Database,
        hub: Hub,
        storage: StorageQuota,
    ) -> None:
        self._temporary = temporary
        self._storage = storage
        self._memory = memory
        self._saved = saved
        self._db = db
        self._hub = hub
        self._tasks = BackgroundTasks()
        self._moving = set[str]()

    async def keep(self, user_id: int, chat_id: str) -> str:
        """Return the id of the ordinary chat; the temporary one has ended then.

        Raises ChatNotFound, StorageFull, or ChatBusy while an answer is being written.
        """
        if chat_id in self._moving:
            raise ChatBusy("This chat is being kept already.")
        self._moving.add(chat_id)
        return await self._tasks.run_shielded(self._move(user_id, chat_id), f"keeping {chat_id}")

    async def _move(self, user_id: int, chat_id: str) -> str:
        try:
            return await self._keep(user_id, chat_id)
        finally:
            self._moving.discard(chat_id)

    async def _keep(self, user_id: int, chat_id: str) -> str:
        await self._close(user_id, chat_id)
        copy = new_chat_id()
        try:
            await self._storage.check_copy(user_id, are_temporary=False)
            chat = await chats.get(self._memory, user_id, chat_id)
            if chat is None:
                raise ChatNotFound(GONE)
            await self._copy(chat, copy)
        except BaseException:  # it stays what it was
            await self._memory.write(
                lambda c: chats.set_timestamp(c, user_id, chat_id, "deleted_at", None)
            )
            raise
        await self._temporary.end(chat_id)
        self._hub.chat_changed(user_id, copy)
        path = await self._saved.chats.messages(await self._saved.chats.get(user_id, copy))
        await self._saved.answers.make_title(user_id, copy, path)
        return copy

    async def _close(self, user_id: int, chat_id: str) -> None:
        """Let nothing more come into the chat."""

        async def close(connection: aiosqlite.Connection) -> None:
            await chats.leaf_if_idle(connection, user_id, chat_id)
            await chats.set_timestamp(connection, user_id, chat_id, "deleted_at", time.time())

        await self._memory.write(close)

    async def _copy(self, chat: Chat, copy: str) -> None:
        """Write all of it for a holder, then hand that over."""
        holder = await self._db.write(lambda c: import_holders.add(c, chat.user_id))
        filling = import_holders.being_filled(self._db)
        filling.add(holder)
        try:
            try:
                await self._fill(holder, chat, copy)
                await self._db.write(lambda c: import_holders.seal(c, holder))
            except BaseException:
                await import_holders.erase(self._db, holder)
                raise
            await import_holders.deliver(self._db, holder)
        finally:
            filling.discard(holder)

    async def _fill(self, holder: int, chat: Chat, copy: str) -> None:
        now, ids = time.time(), dict[int, int]()
        chosen = await chats.get_settings(self._memory, chat.user_id, chat.id)
        tools = await chats.get_tools(self._memory, chat.user_id, chat.id)
        await self._db.write(lambda c: chat_copies.add_chat(c, holder, chat, copy, chat.title, now))
        if chosen is not None:
            await self._db.write(lambda c: chats.put_settings(c, holder, copy, chosen, now))
        if tools is not None:
            await self._db.write(lambda c: chats.put_tools(c, holder, copy, tools, now))
        async for page in branches.pages(self._memory, chat.user_id, chat.id):
            files, pictures = await self._files(chat.user_id, page)
            await self._saved.pictures.save(
                pictures,
                lambda c, p=page, f=files: chat_copies.add_tree(c, holder, copy, p, f, ids),  # type: ignore[misc]
            )
        leaf = ids.get(chat.leaf_id or 0)
        await self._db.write(lambda c: chats.set_leaf(c, holder, copy, leaf))

    async def _files(
        self, user_id: int, page: Sequence[Message]
    ) -> tuple[dict[int, list[NewAttachment]], list[Picture]]:
        """Return the files of each of these messages, and the pictures among them."""
        found = [file for message in page for file in message.attachments]
        texts = await attachments.texts(self._memory, user_id, [file.id for file in found])
        files = {m.id: [_new(file, texts) for file in m.attachments] for m in page}
        memory = self._temporary.services.pictures.files
        pictures = {file.digest: _picture(file, memory) for file in found if file.is_media}
        return files, [picture for picture in pictures.values() if picture is not None]


def _picture(file: Attachment, kept: PictureFiles) -> Picture | None:
    data = kept.read(file.digest, file.media_type)
    thumbnail = b"" if file.is_sound else kept.read(file.digest, THUMBNAIL_TYPE)
    if data is None or thumbnail is None:
        return None
    return Picture(file.width, file.height, file.media_type, data, thumbnail, file.digest)


def _new(file: Attachment, texts: Mapping[int, str]) -> NewAttachment:
    """Describe a file that is to be saved once more."""
    own = set(NewAttachment.__slots__) - {"text"}
    values = {name: getattr(file, name) for name in own}
    return NewAttachment(**values, text=texts.get(file.id, ""))
