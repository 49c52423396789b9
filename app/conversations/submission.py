"""A prompt on its way to the disk: what a user sends, and how it is written down."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import aiosqlite

from app.conversations.answer_state import AnswerRef
from app.conversations.settings import ChatSettings, sanitize_text
from app.conversations.titles import title_of
from app.db import attachments, chats, folders, messages, personas
from app.db.messages import Message, SubmissionRow
from app.errors import InvalidMessage, MessageNotFound

PENDING_NOTE: Final = 10
"""Messages of one chat that may be without an answer at the same time."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Message that a user sends. `client_id` was made by the server for this one submission;
    attachments: ids of unsent files; persona, folder: with which and in which a new
    chat begins."""

    user_id: int
    chat_id: str
    text: str
    client_id: str
    model: str
    attachments: tuple[int, ...] = ()
    persona: int | None = None
    folder: int | None = None


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """Request for one more answer. `client_id` is empty when a prompt with one comes with it.

    instruction: what this answer alone is asked for, beside its prompt; chosen: settings instead of
    those of the chat.
    """

    user_id: int
    chat_id: str
    model: str
    client_id: str = ""
    persona: int | None = None
    instruction: str = ""
    chosen: ChatSettings | None = None
    folder: int | None = None


class SavedAnswer(NamedTuple):
    """An answer that is on the disk, queued. text: its beginning; earlier: how it was when cut;
    is_new: False when its submission was saved before, which changes nothing."""

    ref: AnswerRef
    text: str = ""
    earlier: Message | None = None
    is_new: bool = True


Save = Callable[[aiosqlite.Connection, str], Awaitable[SavedAnswer]]
"""Writes down what is to be answered, in a transaction, with the answer's settings as JSON."""


def validate_text(text: str, most: int, *, is_optional: bool = False) -> str:
    """A prompt of up to `most` characters, made fit for keeping. Raises InvalidMessage.

    is_optional: it may be empty, as beside files.
    """
    text = sanitize_text(text).strip("\n")
    if not text.strip():
        if is_optional:
            return ""
        raise InvalidMessage("Write a message first.")
    if len(text) > most:
        raise InvalidMessage(
            f"This message is {len(text):,} characters long; the limit is {most:,}. Shorten it."
        )
    return text


async def save_prompt(
    connection: aiosqlite.Connection, prompt: Prompt, text: str, made_with: str
) -> SavedAnswer:
    """Add the prompt and its empty answer to the end of the chat, once for each submission."""
    now, files = time.time(), prompt.attachments
    chat_id, user_id, model = prompt.chat_id, prompt.user_id, prompt.model
    if saved := await get_saved(connection, user_id, chat_id, prompt.client_id):
        return saved
    title = title_of(text) or title_of(await attachments.names(connection, user_id, files))
    await chats.create(connection, chat_id, user_id, title, model, now)
    leaf_id = await chats.leaf_below_limit(connection, user_id, chat_id, PENDING_NOTE)
    if prompt.persona is not None and leaf_id is None:
        await personas.begin_chat(connection, user_id, chat_id, prompt.persona)
    if prompt.folder is not None and leaf_id is None:
        await folders.move(connection, user_id, chat_id, prompt.folder)
    question = await messages.add_user(
        connection, user_id, chat_id, leaf_id, text, prompt.client_id, now
    )
    if not await attachments.attach(connection, user_id, files, question):
        raise InvalidMessage("An attached file is no longer there. Attach it again.")
    answer = await messages.add_answer(
        connection, user_id, chat_id, question, model, now, made_with
    )
    await chats.advance(connection, user_id, chat_id, answer, model, now)
    return SavedAnswer(AnswerRef(chat_id, question, answer))


async def get_saved(
    connection: aiosqlite.Connection, user_id: int, chat_id: str, client_id: str
) -> SavedAnswer | None:
    """The answer of a submission that is saved already: it came twice at the same time."""
    row = await messages.get_submission(connection, user_id, chat_id, client_id)
    return None if row is None else SavedAnswer(to_ref(chat_id, row), is_new=False)


def to_ref(chat_id: str, row: SubmissionRow) -> AnswerRef:
    """The answer that a submission has got. Raises MessageNotFound when it is deleted for good."""
    if row.answer_id is None:
        raise MessageNotFound("This message was sent before, and its answer was deleted.")
    return AnswerRef(chat_id, row.prompt_id, row.answer_id)
