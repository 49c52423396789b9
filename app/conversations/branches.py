"""Branches of a chat, made and changed. Every verb reaches only its user's own chats.

Messages form a tree, and a chat shows one path through it. Nothing here changes what was said: a
new wording or another answer stands beside the old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, Literal
from weakref import WeakValueDictionary

import aiosqlite

from app.conversations.answer_state import AnswerRef, MessageRef, is_resumable
from app.conversations.answers import AnswerService
from app.conversations.history import instruction_of
from app.conversations.hub import Hub
from app.conversations.settings import ChatSettings
from app.conversations.submission import AnswerRequest, SavedAnswer, get_saved
from app.db import attachments, branches, chats, messages
from app.db.connection import Database, WriteFn
from app.db.messages import Message
from app.errors import ChatBusy, ChatNotFound, MessageNotFound

UNDO_SECONDS = 3600.0
Length = Literal["shorter", "longer"]
FEWEST_WORDS: Final = {"shorter": 10, "longer": 100}
LENGTH_FACTOR: Final = {"shorter": 0.5, "longer": 2.0}
INSTRUCTIONS: Final = {
    "shorter": "Answer briefly, in at most {words} words, in the language of this message.",
    "longer": "Answer in detail, in about {words} words, in the language of this message.",
}


class Branches:
    """The verbs regenerate, edit, go on, choose, remove and put back."""

    def __init__(self, db: Database, hub: Hub, answers: AnswerService) -> None:
        self._db = db
        self._hub = hub
        self._answers = answers
        self._locks = WeakValueDictionary[str, asyncio.Lock]()
        """By chat: what is deleted and put back there comes one after another."""

    async def get(self, ref: MessageRef) -> Message:
        """The message as it is now. Raises ChatNotFound or MessageNotFound."""
        if await chats.get(self._db, ref.user_id, ref.chat_id) is None:
            raise ChatNotFound
        message = await branches.get_message(self._db, ref.user_id, ref.chat_id, ref.message_id)
        if message is None:
            raise MessageNotFound("There is no such message in this chat.")
        return message

    async def regenerate(
        self,
        ref: MessageRef,
        client_id: str,
        model: str = "",
        *,
        length: Length | None = None,
        chosen: ChatSettings | None = None,
    ) -> AnswerRef:
        """Another answer beside this one, or to this prompt; by its own model or by another.

        length: shorter or longer than this one; chosen: settings instead of the chat's. The same
        `client_id` again changes nothing. Raises MessageNotFound, ChatBusy, and what
        `AnswerService.submit` raises.
        """
        message = await self.get(ref)
        by = model or message.model or await self._model_of(ref)

        async def save(connection: aiosqlite.Connection, made_with: str) -> SavedAnswer:
            if saved := await get_saved(connection, ref.user_id, ref.chat_id, client_id):
                return saved
            await chats.leaf_if_idle(connection, ref.user_id, ref.chat_id)
            found = await _find(connection, ref)
            prompt = found.id if found.role == "user" else found.parent_id
            if prompt is None:
                raise MessageNotFound("This answer has no prompt, so it cannot be regenerated.")
            answer = await messages.add_answer(
                *(connection, ref.user_id, ref.chat_id, prompt, by, time.time()),
                made_with,
                client_id,
            )
            await chats.set_leaf(connection, ref.user_id, ref.chat_id, answer)
            return SavedAnswer(AnswerRef(ref.chat_id, prompt, answer))

        instruction = length_instruction(message.text, length) if length else ""
        request = AnswerRequest(
            *(ref.user_id, ref.chat_id, by, client_id), instruction=instruction, chosen=chosen
        )
        return await self._answers.request_answer(request, save)

    async def compare(self, ref: MessageRef, models: Sequence[str], key: str) -> list[AnswerRef]:
        """Let these models answer the prompt of this message, all at once, beside its answers.

        The same `key` again changes nothing. Raises MessageNotFound, ChatBusy, and what
        `AnswerService.submit` raises.
        """
        message = await self.get(ref)
        prompt_id = message.id if message.role == "user" else message.parent_id
        if prompt_id is None:
            raise MessageNotFound("This answer has no prompt, so it cannot be compared.")
        for model in models:
            self._answers.resolve_settings(model)
        prompt = replace(ref, message_id=prompt_id)
        return [
            await self._add_beside(prompt, model, f"{key}beside{number}")
            for number, model in enumerate(models)
        ]

    async def _add_beside(self, prompt: MessageRef, model: str, client_id: str) -> AnswerRef:
        async def save(connection: aiosqlite.Connection, made_with: str) -> SavedAnswer:
            whose = (connection, prompt.user_id, prompt.chat_id)
            if saved := await get_saved(*whose, client_id):
                return saved
            leaf = await chats.leaf_if_idle(*whose, is_idle=False)
            if await branches.has_unfinished_elsewhere(*whose, prompt.message_id):
                raise ChatBusy("An answer is being written in this chat. Wait for it or stop it.")
            found = await _find(connection, prompt)
            answer = await messages.add_answer(
                *(*whose, found.id, model, time.time()), made_with, client_id
            )
            if leaf == found.id:
                await chats.set_leaf(*whose, answer)
            return SavedAnswer(AnswerRef(prompt.chat_id, found.id, answer))

        request = AnswerRequest(prompt.user_id, prompt.chat_id, model, client_id)
        return await self._answers.request_answer(request, save)

    async def answers_to(self, prompt: MessageRef) -> list[Message]:
        """List all answers to a prompt, oldest first."""
        return await branches.children(
            *(self._db, prompt.user_id, prompt.chat_id, prompt.message_id)
        )

    async def edit(
        self,
        ref: MessageRef,
        text: str,
        client_id: str,
        model: str = "",
        files: Collection[int] | None = None,
    ) -> AnswerRef:
        """Ask the prompt again in other words, on a branch of its own; the old one is kept.

        files: those of its files that it keeps, by their ids; None for all. What is being written
        in the chat is stopped: it answers what was not meant. Raises
        MessageNotFound, InvalidMessage, and what `AnswerService.submit` raises.
        """
        message = await self.get(ref)
        kept = [file for file in message.attachments if files is None or file.id in files]
        text = self._answers.validate_prompt(text, is_optional=bool(kept))
        if message.role != "user":
            raise MessageNotFound("Only your own messages can be edited.")
        by = model or await self._model_of(ref)

        async def save(connection: aiosqlite.Connection, made_with: str) -> SavedAnswer:
            if saved := await get_saved(connection, ref.user_id, ref.chat_id, client_id):
                return saved
            await chats.leaf_if_idle(connection, ref.user_id, ref.chat_id, is_idle=False)
            old, now = await _find(connection, ref), time.time()
            whose = (connection, ref.user_id, ref.chat_id)
            prompt = await messages.add_user(*whose, old.parent_id, text, client_id, now)
            ids = [file.id for file in kept]
            await attachments.copy(connection, ref.user_id, old.id, prompt, now, ids)
            answer = await messages.add_answer(*whose, prompt, by, now, made_with)
            await chats.advance(*whose, answer, by, now)
            return SavedAnswer(AnswerRef(ref.chat_id, prompt, answer))

        return await self._answers.request_answer(
            AnswerRequest(ref.user_id, ref.chat_id, by, client_id), save, instead=True
        )

    async def continue_answer(self, ref: MessageRef) -> AnswerRef:
        """Let the model continue an answer that was cut, from its last character.

        Raises MessageNotFound, ChatBusy, and what `AnswerService.submit` raises.
        """
        message = await self.get(ref)

        async def save(connection: aiosqlite.Connection, made_with: str) -> SavedAnswer:
            await chats.leaf_if_idle(connection, ref.user_id, ref.chat_id)
            found = await _find(connection, ref)
            if not can_continue(found):
                raise ChatBusy("This answer is complete, so there is nothing to continue.")
            if await branches.has_children(connection, ref.user_id, found.id):
                raise ChatBusy("This is not the last answer. Regenerate it instead.")
            # Half a character that was cut off is not what the model said.
            text = found.text.rstrip("\ufffd")
            await messages.requeue(connection, ref.user_id, found.id, text, made_with)
            await chats.set_leaf(connection, ref.user_id, ref.chat_id, found.id)
            return SavedAnswer(AnswerRef(ref.chat_id, found.parent_id, found.id), text, found)

        request = AnswerRequest(
            *(ref.user_id, ref.chat_id, message.model or ""), instruction=instruction_of(message)
        )
        return await self._answers.request_answer(request, save)

    async def select_branch(self, ref: MessageRef) -> None:
        """Show the branch of this message, down to what was written there last."""

        async def choose(connection: aiosqlite.Connection) -> None:
            await chats.leaf_if_idle(connection, ref.user_id, ref.chat_id, is_idle=False)
            found = await _find(connection, ref)
            leaf = await branches.newest_leaf(connection, ref.user_id, ref.chat_id, found.id)
            await chats.set_leaf(connection, ref.user_id, ref.chat_id, leaf)

        await self._write(ref, choose)

    async def remove(self, ref: MessageRef) -> None:
        """Delete this message and what follows it; what stands beside it stays, and is shown.

        `restore` undoes it for an hour. Raises MessageNotFound, or ChatBusy.
        """

        async def hide(connection: aiosqlite.Connection) -> None:
            leaf = await chats.leaf_if_idle(connection, ref.user_id, ref.chat_id, is_idle=False)
            found = await _find(connection, ref)
            if await branches.has_unfinished(connection, ref.user_id, found.id):
                raise ChatBusy("An answer is being written here. Wait for it or stop it.")
            is_shown = await branches.is_in_removal(connection, ref.user_id, found.id, leaf)
            beside = await branches.sibling_to_show(connection, ref.user_id, found)
            await branches.hide_branch(
                *(connection, ref.user_id, ref.chat_id, found.id), leaf, time.time()
            )
            if is_shown and beside is not None:
                leaf = await branches.newest_leaf(connection, ref.user_id, ref.chat_id, beside)
            elif is_shown:
                leaf = found.parent_id
            await chats.set_leaf(connection, ref.user_id, ref.chat_id, leaf)

        async def remove() -> None:
            async with self._locks.setdefault(ref.chat_id, asyncio.Lock()):
                await self.get(ref)
                await branches.prepare_removal(self._db, ref.user_id, ref.chat_id, ref.message_id)
                try:
                    await self._db.write(hide)
                except BaseException:
                    await branches.clear_removal(self._db, ref.message_id)
                    raise

        await self._run(ref, remove())
        expired = branches.purge_removals(self._db, time.time() - UNDO_SECONDS)
        self._answers.tasks.spawn(expired, "deletion of what is not put back any more")

    async def restore(self, ref: MessageRef) -> None:
        """Undo `remove`. Raises MessageNotFound when it is too late for that."""

        async def put_back(connection: aiosqlite.Connection) -> None:
            await chats.leaf_if_idle(connection, ref.user_id, ref.chat_id, is_idle=False)
            leaf = await branches.restore_branch(
                connection, ref.user_id, ref.chat_id, ref.message_id
            )
            if leaf is None:
                raise MessageNotFound("It is too late to undo this.")
            await chats.set_leaf(connection, ref.user_id, ref.chat_id, leaf)

        async def restore() -> None:
            async with self._locks.setdefault(ref.chat_id, asyncio.Lock()):
                await self._db.write(put_back)
                await branches.clear_removal(self._db, ref.message_id)

        await self._run(ref, restore())

    async def _write(self, ref: MessageRef, work: WriteFn[None]) -> None:
        await self._run(ref, self._db.write(work))

    async def _run(self, ref: MessageRef, work: Coroutine[Any, Any, None]) -> None:
        await self._answers.tasks.run_shielded(work, f"branches of {ref.chat_id}")
        self._hub.chat_changed(ref.user_id, ref.chat_id)

    async def _model_of(self, ref: MessageRef) -> str:
        chat = await chats.get(self._db, ref.user_id, ref.chat_id)
        return chat.model if chat else ""


def length_instruction(text: str, length: Length) -> str:
    """Say how long an answer shall be that is to be shorter, or longer, than this text.

    A model that sees no other answer can't make its own shorter, but it can count, roughly.
    """
    words = max(FEWEST_WORDS[length], round(len(text.split()) * LENGTH_FACTOR[length], -1))
    return INSTRUCTIONS[length].format(words=int(words))


def can_continue(message: Message) -> bool:
    """Tell whether this is an answer that ended before its end."""
    begun = message.text or message.thought
    return message.role == "assistant" and is_resumable(
        message.status, message.finish_reason, begun
    )


async def _find(connection: aiosqlite.Connection, ref: MessageRef) -> Message:
    found = await branches.get(connection, ref.user_id, ref.chat_id, ref.message_id)
    if found is None:
        raise MessageNotFound("There is no such message in this chat.")
    return found
