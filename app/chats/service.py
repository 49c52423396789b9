"""What a person does with chats. Every verb takes the user's id and reaches only their chats."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass

import aiosqlite

from app.chats.answer import Answer
from app.chats.context import turns_of
from app.chats.hub import Hub
from app.chats.streams import Stream
from app.config import Settings
from app.errors import ChatBusy, ChatNotFound, InvalidMessage, ModelNotFound
from app.inference.pool import Pool
from app.inference.protocol import Generate
from app.inference.worker import Request
from app.models.model import Sampling
from app.models.pulls import Pulls
from app.models.shelf import Shelf
from app.store import chats, messages
from app.store.chats import Chat
from app.store.db import Database
from app.store.messages import Message
from app.tasks import Tasks

log = logging.getLogger(__name__)
TITLE_CHARS = 60
TRASH_DAYS = 30
SIDEBAR_CHATS = 200
_CHAT_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person sends. `client_id` was made by the server for this one submission."""

    user_id: int
    chat_id: str
    text: str
    client_id: str
    model: str


class Chats:
    """The verbs: submit, stop, rename, delete, restore, recover; and reading what is there."""

    def __init__(
        self, settings: Settings, db: Database, shelf: Shelf, pulls: Pulls, pool: Pool, hub: Hub
    ) -> None:
        self._settings = settings
        self._db = db
        self._shelf = shelf
        self._pulls = pulls
        self._pool = pool
        self._hub = hub
        self.tasks = Tasks()

    # Reading.

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

    # Asking and stopping.

    async def submit(self, prompt: Prompt) -> None:
        """Save the prompt with its empty answer, then queue the request.

        Both are on the disk when this returns, and it goes on when its caller is cancelled. The
        same `client_id` again changes nothing. Raises InvalidMessage, ChatNotFound, ChatBusy,
        ModelNotFound, QueueFull, ShuttingDown or StoreError, and then has saved nothing.
        """
        await self.tasks.run(self._submit(prompt), f"submit to {prompt.chat_id}")

    async def _submit(self, prompt: Prompt) -> None:
        text = self._checked(prompt.text)
        await self.find(prompt.user_id, prompt.chat_id)
        if await self._is_known(prompt):
            return
        sampling = self._check_model(prompt.model)
        worker = self._pool.worker(prompt.model)
        worker.check_room()
        try:
            answer_id = await self._db.write(lambda c: self._save(c, prompt, text))
        except ChatBusy:
            if await self._is_known(prompt):  # the same prompt came twice at the same time
                return
            raise
        chat = await self.find(prompt.user_id, prompt.chat_id)
        path = await self.messages(chat)
        stream = Stream(answer_id, prompt.chat_id, prompt.user_id, prompt.model)
        answer = Answer(stream, self._db, self._hub, self.tasks)
        self._hub.add(stream)
        command = Generate(
            id=answer_id,
            turns=turns_of(path[:-1]),
            sampling=sampling,
            max_tokens=self._settings.max_tokens,
            chat=prompt.chat_id,
        )
        request = Request(command, prompt.user_id, answer.receive)
        try:
            worker.submit(request)
        except Exception as error:
            answer.fail(str(error))
            raise

    async def _is_known(self, prompt: Prompt) -> bool:
        return await messages.has_client_id(self._db, prompt.chat_id, prompt.client_id)

    def _checked(self, text: str) -> str:
        # What SQLite and UTF-8 cannot hold (lone surrogates, NUL) becomes a replacement character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n").strip("\n")
        if not text.strip():
            raise InvalidMessage("There is nothing to send yet.")
        if len(text) > self._settings.message_chars:
            raise InvalidMessage(
                f"This message is {len(text):,} characters long; "
                f"the limit is {self._settings.message_chars:,}. Please shorten it."
            )
        return text

    def _check_model(self, name: str) -> Sampling:
        if any(pull.name == name and pull.is_running for pull in self._pulls.all()):
            return Sampling()
        if not name:
            raise ModelNotFound("There is no model to answer yet.")
        return self._shelf.get(name).sampling

    async def _save(self, connection: aiosqlite.Connection, prompt: Prompt, text: str) -> int:
        now = time.time()
        await chats.create(
            connection, prompt.chat_id, prompt.user_id, title_of(text), prompt.model, now
        )
        leaf_id = await chats.leaf_unless_busy(connection, prompt.user_id, prompt.chat_id)
        user_id = await messages.add_user(
            connection, prompt.chat_id, leaf_id, text, prompt.client_id, now
        )
        answer_id = await messages.add_answer(
            connection, prompt.chat_id, user_id, prompt.model, now
        )
        await chats.advance(connection, prompt.chat_id, answer_id, prompt.model, now)
        return answer_id

    async def stop(self, user_id: int, chat_id: str) -> None:
        """End the answer that runs in this chat; its text so far stays."""
        stream = self._hub.stream_of_chat(chat_id)
        if stream is not None and stream.user_id == user_id:
            self._pool.cancel(stream.model, stream.message_id)

    # Housekeeping.

    async def rename(self, user_id: int, chat_id: str, title: str) -> None:
        """Raises InvalidMessage for an empty title, ChatNotFound."""
        title = title_of(title)
        if not title:
            raise InvalidMessage("A chat needs a name.")
        if not await self._db.write(lambda c: chats.rename(c, user_id, chat_id, title)):
            raise ChatNotFound("There is no such chat.")
        self._hub.chat_changed(user_id, chat_id)

    async def delete(self, user_id: int, chat_id: str) -> None:
        """Into the trash, from where `restore` brings it back; a running answer is stopped."""
        await self.stop(user_id, chat_id)
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


def title_of(text: str) -> str:
    """The first words of a text, on one line, at most TITLE_CHARS long."""
    words = " ".join(text.split())
    if len(words) <= TITLE_CHARS:
        return words
    cut = words[: TITLE_CHARS - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_CHARS // 2 :] else cut) + "…"
