"""What a person does with chats besides asking. Every verb reaches only its user's own chats."""

from __future__ import annotations

import logging
import re
import time

from app.chats.asking import Asking
from app.chats.hub import Hub
from app.chats.titles import title_of
from app.errors import ChatNotFound, InvalidMessage
from app.inference.pool import Pool
from app.store import chats, messages
from app.store.chats import Chat
from app.store.db import Database
from app.store.messages import Message

log = logging.getLogger(__name__)
TRASH_DAYS = 30
SIDEBAR_CHATS = 200
_CHAT_ID = re.compile(r"[0-9a-f]{16}")


class Chats:
    """The verbs rename, delete, restore and recover; and reading what is there."""

    def __init__(self, db: Database, pool: Pool, hub: Hub, asking: Asking) -> None:
        self._db = db
        self._pool = pool
        self._hub = hub
        self._asking = asking

    async def find(self, user_id: int, chat_id: str) -> Chat | None:
        """None for an id that is free: a chat begins to exist with its first message.

        Raises ChatNotFound for what is no chat id, or is somebody else's.
        """
        if not _CHAT_ID.fullmatch(chat_id):
            raise ChatNotFound("There is no such chat.")
        chat = await chats.find(self._db, user_id, chat_id)
        if chat is None and await chats.owner(self._db, chat_id) is not None:
            raise ChatNotFound("There is no such chat.")
        return chat

    async def messages(self, chat: Chat | None) -> list[Message]:
        """The path that is shown, oldest first."""
        return [] if chat is None else await messages.path(self._db, chat.id, chat.leaf_id)

    async def recent(self, user_id: int) -> list[Chat]:
        return await chats.recent(self._db, user_id, SIDEBAR_CHATS)

    async def rename(self, user_id: int, chat_id: str, title: str) -> None:
        """Raises InvalidMessage for an empty title, ChatNotFound."""
        title = title_of(title)
        if not title:
            raise InvalidMessage("A chat needs a name.")
        if not await self._db.write(lambda c: chats.rename(c, user_id, chat_id, title)):
            raise ChatNotFound("There is no such chat.")
        self._hub.chat_changed(user_id, chat_id)

    async def choose_model(self, user_id: int, chat_id: str, model: str) -> None:
        """Remember which model the person has chosen here; a chat that is yet to begin forgets."""
        await self.find(user_id, chat_id)
        await self._db.write(lambda c: chats.choose_model(c, user_id, chat_id, model))

    async def speed(self, model: str) -> float | None:
        """Tokens a second of this model's latest answers, whoever's they are."""
        return await messages.speed(self._db, model)

    async def delete(self, user_id: int, chat_id: str) -> None:
        """Into the trash, from where `restore` brings it back; its answers are stopped."""
        await self._asking.stop_all(user_id, chat_id)
        await self._set_deleted(user_id, chat_id, time.time())

    async def restore(self, user_id: int, chat_id: str) -> None:
        await self._set_deleted(user_id, chat_id, None)

    async def _set_deleted(self, user_id: int, chat_id: str, when: float | None) -> None:
        if not await self._db.write(lambda c: chats.set_deleted(c, user_id, chat_id, when)):
            raise ChatNotFound("There is no such chat.")
        self._hub.chat_changed(user_id, chat_id)

    async def recover(self) -> None:
        """At start: end what a crash left running, and empty the trash of what lay there long."""
        now = time.time()
        count = await self._db.write(
            lambda c: messages.interrupt_unfinished(
                c, "Wick ended while this was being written.", now
            )
        )
        if count:
            log.warning("%d answers were interrupted when Wick ended last time.", count)
        await self._purge(now - TRASH_DAYS * 86400)

    async def _purge(self, deleted_before: float) -> None:
        """Remove chats for good; what models keep of them goes first, so that none is left over."""
        for chat_id in await chats.expired(self._db, deleted_before):
            await self._pool.forget(chat_id)
        await self._db.write(lambda c: chats.purge(c, deleted_before))
