"""Letting others read a chat: by a link that shows it as it is whenever they look."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from app.audit import audit
from app.db import chats
from app.db.chats import Chat
from app.db.connection import Database
from app.db.sessions import hash_token
from app.errors import ChatNotFound


class Shares:
    """A chat has one link at most. What is kept of it finds the chat, but cannot make the link."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    async def share(self, user_id: int, chat_id: str) -> str:
        """The token of a new link; an earlier one ends. Raises ChatNotFound, also in the trash."""
        token, now = secrets.token_urlsafe(32), self._clock()
        digest = hash_token(token)
        if not await self._db.write(lambda c: chats.put_share(c, user_id, chat_id, digest, now)):
            raise ChatNotFound
        audit("share-made", user=user_id, chat=chat_id)
        return token

    async def end(self, user_id: int, chat_id: str) -> None:
        """End the link, so that nobody sees the chat; again is harmless."""
        if await self._db.write(lambda c: chats.end_share(c, user_id, chat_id)):
            audit("share-ended", user=user_id, chat=chat_id)

    async def since(self, user_id: int, chat_id: str) -> float | None:
        """Return when its link was made; None when the chat is not shared."""
        return await chats.shared_at(self._db, user_id, chat_id)

    async def find(self, token: str) -> Chat:
        """Raises ChatNotFound, whatever the reason."""
        chat = await chats.get_shared(self._db, hash_token(token))
        if chat is None:
            raise ChatNotFound("This link is invalid or has been revoked.")
        return chat
