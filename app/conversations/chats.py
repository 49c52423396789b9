"""Chats: listed, renamed, set up, shared by a link, moved to the trash and removed from it.

Everything reaches only its user's own chats, but what expires and what a link shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final

import aiosqlite

from app.audit import audit
from app.background import BackgroundTasks
from app.conversations.answers import AnswerService
from app.conversations.attachments import UNSENT_SECONDS
from app.conversations.branches import UNDO_SECONDS
from app.conversations.chat_tools import MAX_UNUSED_SETTINGS
from app.conversations.history import SiblingIndex
from app.conversations.hub import Hub
from app.conversations.settings import ChatSettings, parse_stored
from app.conversations.titles import NAME_CHARS, title_of
from app.db import (
    attachments,
    branches,
    import_holders,
    messages,
    preferences,
    unfinished,
    users,
)
from app.db import chats as db_chats
from app.db.chats import Chat, Cursor, ListName, StateColumn
from app.db.connection import Database
from app.db.messages import Message
from app.db.sessions import hash_token
from app.errors import ChatNotFound, InvalidMessage, StorageFull, WickError
from app.inference.kv_files import MEMORY_ONLY, is_memory_only
from app.inference.worker_pool import WorkerPool

log = logging.getLogger(__name__)
UNUSED_SECONDS = 86400.0
PAGE_CHATS = 60
TRASH_DAYS = 30
RETENTION_SECONDS = TRASH_DAYS * 86400
_TRASH_CHECK_SECONDS = 3600.0
MAX_SHARES: Final = 1000
_CHAT_ID = re.compile(r"t?[0-9a-f]{16}")


def new_chat_id(*, temporary: bool = False) -> str:
    """Return an id that nothing has; it says whether the chat is temporary."""
    return f"{MEMORY_ONLY if temporary else ''}{secrets.token_hex(8)}"


class ChatService:
    """Reads, renames, sets up, moves and recovers chats."""

    def __init__(
        self, db: Database, hub: Hub, answers: AnswerService, *, are_temporary: bool = False
    ) -> None:
        self._db = db
        self._are_temporary = are_temporary
        self._hub = hub
        self._answers = answers

    async def get(self, user_id: int, chat_id: str) -> Chat | None:
        """None for an id that is free: a chat begins to exist with its first message.

        Raises ChatNotFound for what is no chat id, or is somebody else's.
        """
        if not _CHAT_ID.fullmatch(chat_id) or is_memory_only(chat_id) != self._are_temporary:
            raise ChatNotFound
        chat = await db_chats.get(self._db, user_id, chat_id)
        if chat is not None:
            return chat
        owner = await db_chats.owner(self._db, chat_id)
        if owner not in {None, user_id}:
            raise ChatNotFound
        # It may have come into being between the two looks.
        return await db_chats.get(self._db, user_id, chat_id) if owner else None

    async def messages(self, chat: Chat | None) -> list[Message]:
        """The path that is shown, oldest first."""
        if chat is None:
            return []
        return await messages.load_path(self._db, chat.user_id, chat.id, chat.leaf_id)

    async def recent(self, user_id: int) -> list[Chat]:
        """List what the sidebar shows first; older ones are in pages after it."""
        return (await self.page(user_id, "listed"))[0]

    async def page(
        self,
        user_id: int,
        name: ListName,
        after: Cursor | None = None,
        folder_id: int | None = None,
    ) -> tuple[list[Chat], Cursor | None]:
        """Part of a list, newest first, and where it goes on if there is more."""
        return await db_chats.page(self._db, user_id, name, PAGE_CHATS, after, folder_id)

    async def list_until(self, user_id: int, last: Cursor, limit: int) -> list[Chat]:
        """The listed chats from the newest to `last`."""
        return await db_chats.list_until(self._db, user_id, last, limit)

    async def neighbours(
        self, user_id: int, place: Cursor, without: set[str]
    ) -> tuple[Chat | None, Chat | None]:
        """The listed chats right before a place in the list and, `without` some, after it."""
        after, _ = await db_chats.page(self._db, user_id, "loose", len(without) + 1, place)
        others = (chat for chat in after if chat.id not in without)
        return await db_chats.newer_than(self._db, user_id, place), next(others, None)

    async def get_many(self, user_id: int, chat_ids: set[str]) -> list[Chat]:
        return await db_chats.get_many(self._db, user_id, chat_ids)

    async def rename(self, user_id: int, chat_id: str, title: str) -> None:
        """Raises InvalidMessage for an empty title, ChatNotFound."""
        title = title_of(title, NAME_CHARS)
        if not title:
            raise InvalidMessage("A chat needs a name.")
        if not await self._db.write(lambda c: db_chats.rename(c, user_id, chat_id, title)):
            raise ChatNotFound
        self._hub.chat_changed(user_id, chat_id)

    async def choose_model(self, user_id: int, chat_id: str, model: str) -> None:
        """Remember which model the user has chosen here; a chat that is yet to begin forgets."""
        await self.get(user_id, chat_id)
        await self._db.write(lambda c: db_chats.choose_model(c, user_id, chat_id, model))

    async def speed(self, model: str) -> float | None:
        """Tokens a second of this model's latest answers, whoever's they are."""
        return await messages.recent_tokens_per_second(self._db, model)

    async def settings(self, user_id: int, chat_id: str) -> ChatSettings:
        """Return what was chosen for this chat; it need not have begun."""
        return parse_stored(await db_chats.get_settings(self._db, user_id, chat_id))

    async def about(self, user_id: int) -> str:
        """Return what a user says of themselves to the models of new chats."""
        return await preferences.get_about(self._db, user_id)

    async def save_about(self, user_id: int, about: str) -> None:
        now = time.time()
        await self._db.write(lambda c: preferences.put_about(c, user_id, about, now))

    async def choose_settings(self, user_id: int, chat_id: str, chosen: ChatSettings) -> None:
        """Set up the chat's answers from now on. Raises ChatNotFound."""
        await self.get(user_id, chat_id)
        text, now = chosen.to_json(), time.time()

        async def put(connection: aiosqlite.Connection) -> None:
            await db_chats.put_settings(connection, user_id, chat_id, text, now)
            await db_chats.trim_unused_settings(connection, user_id, chat_id, MAX_UNUSED_SETTINGS)

        await self._db.write(put)
        self._hub.chat_changed(user_id, chat_id)

    async def siblings(self, chat: Chat | None) -> SiblingIndex:
        """The messages of the chat that have others beside them."""
        return SiblingIndex(
            {} if chat is None else await branches.sibling_groups(self._db, chat.user_id, chat.id)
        )

    async def delete(self, user_id: int, chat_id: str) -> None:
        """Into the trash, from where `restore` brings it back; its answers are stopped."""
        await self._answers.stop_all(user_id, chat_id)
        await self.set_state(user_id, chat_id, "deleted_at", time.time())

    async def restore(self, user_id: int, chat_id: str) -> None:
        await self.set_state(user_id, chat_id, "deleted_at", None)

    async def set_state(
        self, user_id: int, chat_id: str, place: StateColumn, when: float | None
    ) -> None:
        """Pin, archive or throw away, or the way back (None). Raises ChatNotFound."""
        if not await self._db.write(
            lambda c: db_chats.set_timestamp(c, user_id, chat_id, place, when)
        ):
            raise ChatNotFound
        self._hub.chat_changed(user_id, chat_id)

    async def mark_read(self, user_id: int, chat_id: str) -> None:
        """Count everything in this chat as read: the user looks at it."""
        chat = await self.get(user_id, chat_id)
        if chat is not None and chat.is_unread:
            await self._db.try_write(
                lambda c: db_chats.set_unread(c, user_id, chat_id, is_unread=False)
            )
            self._hub.chat_changed(user_id, chat_id)

    async def show_path_to(self, user_id: int, chat_id: str, message_id: int) -> None:
        """Show a path that goes through this message, unless an answer runs or it does already."""
        chat = await self.get(user_id, chat_id)
        if chat is None or self._hub.stream_of_chat(chat_id) is not None:
            return
        if any(message.id == message_id for message in await self.messages(chat)):
            return
        leaf = await branches.deepest_descendant(self._db, user_id, chat_id, message_id)
        if leaf is not None:
            await self._db.try_write(lambda c: db_chats.set_leaf(c, user_id, chat_id, leaf))
            self._hub.chat_changed(user_id, chat_id)

    async def recover_interrupted(self) -> None:
        """End, at start, what a crash left running; make sure that the local user is there.

        `AnswerService.requeue` then takes up what had not begun."""
        now = time.time()
        await self._db.write(lambda c: users.add_local(c, now))
        count = await self._db.write(lambda c: unfinished.interrupt_begun(c, now))
        if count:
            log.warning("%d answers were interrupted when Wick ended last time.", count)
        await branches.purge_removals(self._db, now - UNDO_SECONDS)
        await branches.clear_unused_removals(self._db)
        await self._db.write(lambda c: db_chats.purge_unused_settings(c, now - UNUSED_SECONDS))


class Shares:
    """A chat has one link at most. What is kept of it finds the chat, but cannot make the link."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    async def share(self, user_id: int, chat_id: str) -> str:
        """The token of a new link; an earlier one ends. Raises StorageFull, and ChatNotFound, also
        in the trash."""
        token, now = secrets.token_urlsafe(32), self._clock()
        digest = hash_token(token)

        async def put(connection: aiosqlite.Connection) -> bool:
            if await db_chats.count_shares(connection, user_id, chat_id) >= MAX_SHARES:
                audit("limit-reached", limit="shares", user=user_id)
                raise StorageFull(
                    f"You have reached the limit of {MAX_SHARES:,} shared chats. Stop sharing some."
                )
            return await db_chats.put_share(connection, user_id, chat_id, digest, now)

        if not await self._db.write(put):
            raise ChatNotFound
        audit("share-made", user=user_id, chat=chat_id)
        return token

    async def end(self, user_id: int, chat_id: str) -> None:
        """End the link, so that nobody sees the chat; again is harmless."""
        if await self._db.write(lambda c: db_chats.end_share(c, user_id, chat_id)):
            audit("share-ended", user=user_id, chat=chat_id)

    async def since(self, user_id: int, chat_id: str) -> float | None:
        """Return when its link was made; None when the chat is not shared."""
        return await db_chats.shared_at(self._db, user_id, chat_id)

    async def find(self, token: str) -> Chat:
        """Raises ChatNotFound, whatever the reason."""
        chat = await db_chats.get_shared(self._db, hash_token(token))
        if chat is None:
            raise ChatNotFound("This link is invalid or has been revoked.")
        return chat


class Trash:
    """Removes chats for good; what models keep of them goes first, so that none is left over."""

    def __init__(self, db: Database, pool: WorkerPool, hub: Hub) -> None:
        self._db = db
        self._pool = pool
        self._hub = hub
        self._is_dirty = False
        self._tasks = BackgroundTasks()

    async def remove(self, user_id: int, chat_id: str) -> None:
        """One chat. Raises ChatNotFound when it is not in this user's trash."""
        chat = await db_chats.get(self._db, user_id, chat_id)
        if chat is None or chat.deleted_at is None:
            raise ChatNotFound("There is no such chat in the trash.")
        await self._pool.delete_chat(chat_id)
        holder = await self._db.write(lambda c: import_holders.take_over(c, user_id, chat_id))
        self._is_dirty = True
        self._hub.chat_changed(user_id, chat_id)
        if holder is not None:
            await self._tasks.run_shielded(
                import_holders.erase(self._db, holder), "removal of a chat"
            )

    async def empty(self, user_id: int) -> int:
        """Remove all of this user's chats in the trash; return their number."""
        count = 0
        while found := (await db_chats.page(self._db, user_id, "trashed", 100))[0]:
            count += await self._remove_all((user_id, chat.id) for chat in found)
        return count

    async def remove_expired(self, now: float) -> int:
        """Remove what has lain there long enough, of all users; return their number."""
        return await self._remove_all(await db_chats.expired(self._db, now - RETENTION_SECONDS))

    async def _remove_all(self, found: Iterable[tuple[int, str]]) -> int:
        """Remove these and return their number; those that are restored meanwhile stay."""
        count = 0
        for user_id, chat_id in found:
            with contextlib.suppress(ChatNotFound):
                await self.remove(user_id, chat_id)
                count += 1
        return count

    async def purge(self) -> None:
        """The words of what has been removed are in the database's files until then."""
        if self._is_dirty:
            await self._db.purge_deleted_text()
            self._is_dirty = False

    async def run(self) -> None:
        """Remove what expires, and tidy up, at once and then every hour, until cancelled."""
        is_tidy = False
        while True:
            try:
                if not is_tidy:
                    await self._pool.purge(await db_chats.all_chat_ids(self._db))
                    is_tidy = True
                if count := await self.remove_expired(time.time()):
                    log.info("%d chats were removed: they lay in the trash for long.", count)
                await self.purge()
                until = time.time() - UNSENT_SECONDS
                await self._db.write(lambda c, t=until: attachments.purge_unsent(c, t))  # type: ignore[misc]
            except WickError as error:
                log.warning("The trash was not emptied: %s", error)
            await asyncio.sleep(_TRASH_CHECK_SECONDS)
