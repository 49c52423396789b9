"""The backend in this process."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import fields
from typing import Final

from app.conversations.refs import AnswerRef, MessageRef
from app.conversations.search import split_highlights
from app.conversations.settings import ChatSettings
from app.conversations.submission import Prompt
from app.db.chats import Chat
from app.db.messages import Message
from app.db.search import SearchQuery, words_of
from app.errors import ChatNotFound, ModelNotFound
from app.models.model import Model
from app.services import Services
from app.terminal.backend import (
    AnswerEnded,
    ChatSummary,
    Event,
    ExportFormat,
    MessageRecord,
    ModelSummary,
    OpenChat,
    SearchHit,
    StatusUpdate,
    TextDelta,
    describe_wait,
)

OWNER: Final = 1
"""The person whose chats these are: who may read the data folder is its owner."""


class LocalBackend:
    """Implements Backend with the verbs themselves."""

    location = ""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def models(self) -> Sequence[ModelSummary]:
        services = self._services
        models = await asyncio.to_thread(services.store.models)
        lines = [_model_summary(model) for model in models]
        names = {model.name for model in models}
        lines += [
            ModelSummary(pull.name, pull.title, pull.progress.description)
            for pull in services.pulls.all()
            if pull.is_running and pull.name not in names
        ]
        if not lines:
            self._explain()
        first = await asyncio.to_thread(services.store.default) or services.settings.default_model
        return sorted(lines, key=lambda line: line.name != first)

    async def chats(self, limit: int) -> Sequence[ChatSummary]:
        found: list[Chat] = []
        for name in ("pinned", "listed"):
            after = None
            while True:
                page, after = await self._services.chats.page(OWNER, name, after)
                found += page
                if after is None or len(found) >= limit:
                    break
        found.sort(key=lambda chat: -chat.updated_at)
        return [_chat_summary(chat) for chat in found[:limit]]

    async def open(self, chat_id: str) -> OpenChat:
        chat = await self._services.chats.get(OWNER, chat_id)
        if chat is None:
            raise ChatNotFound("There is no such chat.")
        await self._services.chats.mark_read(OWNER, chat_id)
        path = await self._services.chats.messages(chat)
        return OpenChat(_chat_summary(chat), [self._unchanged(message) for message in path])

    async def begin(self, text: str, model: str, chosen: ChatSettings) -> AnswerRef:
        chat_id = secrets.token_hex(8)
        self._services.answers.resolve_settings(
            model
        )  # nothing is kept for a model that is not there
        if chosen.overrides:
            await self.choose_settings(chat_id, chosen)
        return await self.submit(chat_id, text, model)

    async def submit(self, chat_id: str, text: str, model: str) -> AnswerRef:
        prompt = Prompt(OWNER, chat_id, text, secrets.token_hex(8), model)
        return await self._services.answers.submit(prompt)

    async def regenerate(self, chat_id: str, message_id: int, model: str) -> AnswerRef:
        ref = MessageRef(OWNER, chat_id, message_id)
        return await self._services.branches.regenerate(ref, secrets.token_hex(8), model)

    async def edit(self, chat_id: str, message_id: int, text: str, model: str) -> AnswerRef:
        ref = MessageRef(OWNER, chat_id, message_id)
        return await self._services.branches.edit(ref, text, secrets.token_hex(8), model)

    async def continue_answer(self, chat_id: str, message_id: int) -> AnswerRef:
        ref = MessageRef(OWNER, chat_id, message_id)
        return await self._services.branches.continue_answer(ref)

    async def follow(self, asked: AnswerRef, start: int = 0) -> AsyncGenerator[Event]:
        chat_id, answer_id = asked.chat_id, asked.answer_id
        hub, line = self._services.hub, ""
        subscription = hub.subscribe(OWNER, chat_id)
        try:
            while (stream := hub.stream(answer_id)) is not None:
                subscription.wake.clear()
                subscription.changed.clear()
                if len(stream.text) > start:
                    piece, start = stream.text[start:], len(stream.text)
                    yield TextDelta(piece)
                if line != (now := describe_wait(stream)):
                    line = now
                    yield StatusUpdate(line)
                await subscription.wake.wait()
        finally:
            hub.unsubscribe(subscription)
        message = await self._services.branches.get(MessageRef(OWNER, chat_id, answer_id))
        if len(message.text) > start:
            yield TextDelta(message.text[start:])
        yield AnswerEnded(_message_record(message))

    async def stop(self, chat_id: str) -> None:
        await self._services.answers.stop(OWNER, chat_id)

    async def settings(self, chat_id: str) -> ChatSettings:
        return await self._services.chats.settings(OWNER, chat_id)

    async def choose_settings(self, chat_id: str, chosen: ChatSettings) -> None:
        await self._services.chats.choose_settings(OWNER, chat_id, chosen)

    async def choose_model(self, chat_id: str, model: str) -> None:
        self._services.answers.resolve_settings(model)  # it is there, and sound
        await self._services.chats.choose_model(OWNER, chat_id, model)

    async def rename(self, chat_id: str, title: str) -> None:
        await self._services.chats.rename(OWNER, chat_id, title)

    async def delete(self, chat_id: str) -> None:
        await self._services.chats.delete(OWNER, chat_id)

    async def restore(self, chat_id: str) -> None:
        await self._services.chats.restore(OWNER, chat_id)

    async def delete_permanently(self, chat_id: str) -> None:
        await self._services.chats.set_state(OWNER, chat_id, "deleted_at", time.time())
        await self._services.trash.remove(OWNER, chat_id)

    async def search(self, words: str) -> Sequence[SearchHit]:
        results = await self._services.search.find(OWNER, SearchQuery(words_of(words)))
        hits = [*results.titles, *results.messages]
        return [SearchHit(hit.chat_id, hit.title, *split_highlights(hit.snippet)) for hit in hits]

    async def export(self, chat_id: str, form: ExportFormat) -> bytes:
        chat = await self._services.chats.get(OWNER, chat_id)
        if chat is None:
            raise ChatNotFound("There is no such chat.")
        exports = self._services.exports
        pieces = exports.markdown(chat) if form == "md" else exports.json(chat)
        return b"".join([piece async for piece in pieces])

    def _explain(self) -> None:
        """Why there is no model, when that is known."""
        for pull in self._services.pulls.all():
            raise ModelNotFound(f"There is no model on the shelf yet. {pull.error}")

    def _unchanged(self, message: Message) -> MessageRecord:
        """With the text so far, when the answer is running."""
        stream = self._services.hub.stream(message.id)
        return _message_record(message, stream.text if stream is not None else None)


def _chat_summary(chat: Chat) -> ChatSummary:
    return ChatSummary(chat.id, chat.title, chat.model, chat.updated_at)


def _message_record(message: Message, text: str | None = None) -> MessageRecord:
    values = {field.name: getattr(message, field.name) for field in fields(MessageRecord)}
    return MessageRecord(**(values if text is None else values | {"text": text}))


def _model_summary(model: Model) -> ModelSummary:
    hosts = model.remote.external_hosts if model.remote else ()
    state = f"sent to {', '.join(hosts)}" if hosts else ""
    return ModelSummary(model.name, model.title, state, hosts)
