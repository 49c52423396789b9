"""What a person does with the branches of a chat. Every verb reaches only its user's own chats.

Messages form a tree, and a chat shows one path through it. Nothing here changes what was said: a
new wording or another answer stands beside the old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import aiosqlite

from app.chats.asking import Asking
from app.chats.hub import Hub
from app.chats.prompts import Saved, Wish
from app.errors import ChatBusy, ChatNotFound, MessageNotFound
from app.store import branches, chats, messages, removals
from app.store.db import Database, Work
from app.store.messages import Message

UNDO_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A message of one of the person's chats."""

    user_id: int
    chat_id: str
    message_id: int


class Branches:
    """The verbs regenerate, edit, go on, choose, remove and put back."""

    def __init__(self, db: Database, hub: Hub, asking: Asking) -> None:
        self._db = db
        self._hub = hub
        self._asking = asking
        self._locks = WeakValueDictionary[str, asyncio.Lock]()
        """By chat: what is deleted and put back there comes one after another."""

    async def find(self, spot: Spot) -> Message:
        """The message as it is now. Raises ChatNotFound or MessageNotFound."""
        if await chats.find(self._db, spot.user_id, spot.chat_id) is None:
            raise ChatNotFound("There is no such chat.")
        message = await branches.read(self._db, spot.user_id, spot.chat_id, spot.message_id)
        if message is None:
            raise MessageNotFound("There is no such message in this chat.")
        return message

    async def regenerate(self, spot: Spot, client_id: str, model: str = "") -> None:
        """Another answer beside this one, or to this prompt; by its own model or by another.

        The same `client_id` again changes nothing. Raises MessageNotFound, ChatBusy, and what
        `Asking.submit` raises.
        """
        message = await self.find(spot)
        by = model or message.model or await self._model_of(spot)

        async def save(connection: aiosqlite.Connection, made_with: str) -> Saved | None:
            if await messages.is_saved(connection, spot.user_id, spot.chat_id, client_id):
                return None
            await chats.leaf_at_rest(connection, spot.user_id, spot.chat_id)
            found = await _find(connection, spot)
            prompt = found.id if found.role == "user" else found.parent_id
            if prompt is None:
                raise MessageNotFound("This answer has no prompt, so it cannot be asked for again.")
            answer = await messages.add_answer(
                *(connection, spot.user_id, spot.chat_id, prompt, by, time.time()),
                made_with,
                client_id,
            )
            await chats.show(connection, spot.user_id, spot.chat_id, answer)
            return Saved(answer)

        await self._asking.answer(Wish(spot.user_id, spot.chat_id, by, client_id), save)

    async def edit(self, spot: Spot, text: str, client_id: str, model: str = "") -> None:
        """Ask the prompt again in other words, on a branch of its own; the old one is kept.

        What is being written in the chat is stopped: it answers what was not meant. Raises
        MessageNotFound, InvalidMessage, and what `Asking.submit` raises.
        """
        text = self._asking.checked(text)
        message = await self.find(spot)
        if message.role != "user":
            raise MessageNotFound("Only your own messages can be edited.")
        by = model or await self._model_of(spot)

        async def save(connection: aiosqlite.Connection, made_with: str) -> Saved | None:
            if await messages.is_saved(connection, spot.user_id, spot.chat_id, client_id):
                return None
            await chats.leaf_at_rest(connection, spot.user_id, spot.chat_id, is_idle=False)
            old, now = await _find(connection, spot), time.time()
            whose = (connection, spot.user_id, spot.chat_id)
            prompt = await messages.add_user(*whose, old.parent_id, text, client_id, now)
            answer = await messages.add_answer(*whose, prompt, by, now, made_with)
            await chats.advance(*whose, answer, by, now)
            return Saved(answer)

        await self._asking.answer(
            Wish(spot.user_id, spot.chat_id, by, client_id), save, instead=True
        )

    async def go_on(self, spot: Spot) -> None:
        """Let the model continue an answer that was cut, from its last character.

        Raises MessageNotFound, ChatBusy, and what `Asking.submit` raises.
        """
        message = await self.find(spot)

        async def save(connection: aiosqlite.Connection, made_with: str) -> Saved | None:
            await chats.leaf_at_rest(connection, spot.user_id, spot.chat_id)
            found = await _find(connection, spot)
            if not is_cut(found):
                raise ChatBusy("This answer is complete, so there is nothing to continue.")
            if await branches.has_children(connection, spot.user_id, found.id):
                raise ChatBusy(
                    "The chat has gone on behind this answer. Ask again instead, please."
                )
            # Half a character that was cut off is not what the model said.
            text = found.text.rstrip("\ufffd")
            await messages.resume(connection, spot.user_id, found.id, text, made_with)
            await chats.show(connection, spot.user_id, spot.chat_id, found.id)
            return Saved(found.id, text, found)

        await self._asking.answer(Wish(spot.user_id, spot.chat_id, message.model or ""), save)

    async def choose(self, spot: Spot) -> None:
        """Show the branch of this message, down to what was written there last."""

        async def choose(connection: aiosqlite.Connection) -> None:
            await chats.leaf_at_rest(connection, spot.user_id, spot.chat_id, is_idle=False)
            found = await _find(connection, spot)
            leaf = await branches.newest_leaf(connection, spot.user_id, spot.chat_id, found.id)
            await chats.show(connection, spot.user_id, spot.chat_id, leaf)

        await self._write(spot, choose)

    async def remove(self, spot: Spot) -> None:
        """Delete this message and what follows it; what stands beside it stays, and is shown.

        `put_back` undoes it for an hour. Raises MessageNotFound, or ChatBusy.
        """

        async def hide(connection: aiosqlite.Connection) -> None:
            leaf = await chats.leaf_at_rest(connection, spot.user_id, spot.chat_id, is_idle=False)
            found = await _find(connection, spot)
            if await removals.is_unfinished(connection, spot.user_id, found.id):
                raise ChatBusy("An answer is being written here. Wait for it, or stop it, please.")
            is_shown = await removals.is_noted(connection, spot.user_id, found.id, leaf)
            beside = await branches.neighbour(connection, spot.user_id, found)
            await removals.hide(
                *(connection, spot.user_id, spot.chat_id, found.id), leaf, time.time()
            )
            if is_shown and beside is not None:
                leaf = await branches.newest_leaf(connection, spot.user_id, spot.chat_id, beside)
            elif is_shown:
                leaf = found.parent_id
            await chats.show(connection, spot.user_id, spot.chat_id, leaf)

        async def remove() -> None:
            async with self._locks.setdefault(spot.chat_id, asyncio.Lock()):
                await self.find(spot)
                await removals.prepare(self._db, spot.user_id, spot.chat_id, spot.message_id)
                try:
                    await self._db.write(hide)
                except BaseException:
                    await removals.clear(self._db, spot.message_id)
                    raise

        await self._run(spot, remove())
        expired = removals.forget(self._db, time.time() - UNDO_SECONDS)
        self._asking.tasks.start(expired, "deletion of what is not put back any more")

    async def put_back(self, spot: Spot) -> None:
        """Undo `remove`. Raises MessageNotFound when it is too late for that."""

        async def put_back(connection: aiosqlite.Connection) -> None:
            await chats.leaf_at_rest(connection, spot.user_id, spot.chat_id, is_idle=False)
            leaf = await removals.restore(connection, spot.user_id, spot.chat_id, spot.message_id)
            if leaf is None:
                raise MessageNotFound("It is too late to undo this.")
            await chats.show(connection, spot.user_id, spot.chat_id, leaf)

        async def restore() -> None:
            async with self._locks.setdefault(spot.chat_id, asyncio.Lock()):
                await self._db.write(put_back)
                await removals.clear(self._db, spot.message_id)

        await self._run(spot, restore())

    async def _write(self, spot: Spot, work: Work[None]) -> None:
        await self._run(spot, self._db.write(work))

    async def _run(self, spot: Spot, work: Coroutine[Any, Any, None]) -> None:
        await self._asking.tasks.run(work, f"branches of {spot.chat_id}")
        self._hub.chat_changed(spot.user_id, spot.chat_id)

    async def _model_of(self, spot: Spot) -> str:
        chat = await chats.find(self._db, spot.user_id, spot.chat_id)
        return chat.model if chat else ""


def is_cut(message: Message) -> bool:
    """Whether an answer ended before its end, so that it may go on."""
    if message.role != "assistant" or not message.text.rstrip("\ufffd"):
        return False
    return message.status in {"stopped", "interrupted", "failed"} or (
        message.status == "done" and message.finish_reason == "length"
    )


async def _find(connection: aiosqlite.Connection, spot: Spot) -> Message:
    found = await branches.find(connection, spot.user_id, spot.chat_id, spot.message_id)
    if found is None:
        raise MessageNotFound("There is no such message in this chat.")
    return found
