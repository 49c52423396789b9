"""Chats that branch off: a new chat that begins as another does, up to one of its messages."""

from __future__ import annotations

import re
import time

from app.background import BackgroundTasks
from app.conversations.answer_state import MessageRef
from app.conversations.chats import new_chat_id
from app.conversations.hub import Hub
from app.conversations.storage_quota import StorageQuota
from app.conversations.titles import NAME_CHARS, title_of
from app.db import branches, chat_copies, chats, import_holders
from app.db.chats import Chat
from app.db.connection import Database
from app.errors import ChatBusy, ChatNotFound, MessageNotFound

_BRANCH = re.compile(r" \(branch(?: (\d{1,4}))?\)$")


class ChatCopies:
    """Copies the path up to a message into a new chat; of a crash halfway nothing is left."""

    def __init__(
        self,
        db: Database,
        hub: Hub,
        storage: StorageQuota | None = None,
        *,
        are_temporary: bool = False,
    ) -> None:
        self._db = db
        self._storage = storage
        self._are_temporary = are_temporary
        self._hub = hub
        self._tasks = BackgroundTasks()

    async def branch_off(self, ref: MessageRef) -> str:
        """Return the id of the new chat. Raises ChatNotFound, MessageNotFound, StorageFull, or
        ChatBusy while the message is still being written."""
        chat = await chats.get(self._db, ref.user_id, ref.chat_id)
        if chat is None:
            raise ChatNotFound
        last = await branches.get_message(self._db, ref.user_id, ref.chat_id, ref.message_id)
        if last is None:
            raise MessageNotFound("There is no such message in this chat.")
        if last.status == "queued":
            raise ChatBusy("An answer is being written here. Wait for it or stop it.")
        if self._storage is not None:
            await self._storage.check_copy(ref.user_id, are_temporary=self._are_temporary)
        copy = new_chat_id(temporary=self._are_temporary)
        await self._tasks.run_shielded(self._copy(chat, ref.message_id, copy), f"copy {copy}")
        self._hub.chat_changed(ref.user_id, copy)
        return copy

    async def _copy(self, chat: Chat, last: int, copy: str) -> None:
        """Write all of it for a holder, then hand that over."""
        holder = await self._db.write(lambda c: import_holders.add(c, chat.user_id))
        filling = import_holders.being_filled(self._db)
        filling.add(holder)
        try:
            try:
                await self._fill(holder, chat, last, copy)
                await self._db.write(lambda c: import_holders.seal(c, holder))
            except BaseException:
                await import_holders.erase(self._db, holder)
                raise
            await import_holders.deliver(self._db, holder)
        finally:
            filling.discard(holder)

    async def _fill(self, holder: int, chat: Chat, last: int, copy: str) -> None:
        title, now = branch_title(chat.title), time.time()
        await self._db.write(lambda c: chat_copies.add_chat(c, holder, chat, copy, title, now))
        leaf: int | None = None
        async for page in branches.path_pages(self._db, chat.user_id, chat.id, last):
            leaf = await self._db.write(
                lambda c, above=leaf, rows=page: chat_copies.add_messages(  # type: ignore[misc]
                    c, holder, copy, above, rows
                )
            )
        await self._db.write(lambda c: chats.set_leaf(c, holder, copy, leaf))


def branch_title(title: str) -> str:
    """Name a branch after its chat: `X`, `X (branch)`, `X (branch 2)`."""
    found = _BRANCH.search(title)
    number = int(found[1] or 1) + 1 if found else 1
    ending = f" (branch {number})" if number > 1 else " (branch)"
    stem = title[: found.start()] if found else title
    return title_of(stem, NAME_CHARS - len(ending)) + ending
