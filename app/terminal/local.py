"""The backend in this process."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import fields
from typing import Final

from app.chats.branches import Spot
from app.chats.chat_settings import ChatSettings
from app.chats.house import House
from app.chats.prompts import Prompt
from app.chats.search import marked
from app.errors import ChatNotFound, ModelNotFound
from app.models.model import Model
from app.store.chats import Chat
from app.store.messages import Message
from app.store.search import Wish, words_of
from app.terminal.backend import (
    Asked,
    ChatLine,
    Ended,
    Event,
    Form,
    Found,
    ModelLine,
    Opened,
    Said,
    Text,
    Waiting,
)
from app.terminal.words import waiting

OWNER: Final = 1
"""The person whose chats these are: who may read the data folder is its owner."""


class Local:
    """Implements Backend with the verbs themselves."""

    place = ""

    def __init__(self, house: House) -> None:
        self._house = house

    async def models(self) -> Sequence[ModelLine]:
        house = self._house
        models = await asyncio.to_thread(house.shelf.models)
        lines = [_choice(model) for model in models]
        names = {model.name for model in models}
        lines += [
            ModelLine(pull.name, pull.title, pull.progress.sentence)
            for pull in house.pulls.all()
            if pull.is_running and pull.name not in names
        ]
        if not lines:
            self._explain()
        first = await asyncio.to_thread(house.shelf.default) or house.settings.default_model
        return sorted(lines, key=lambda line: line.name != first)

    async def chats(self, limit: int) -> Sequence[ChatLine]:
        found: list[Chat] = []
        for name in ("pinned", "listed"):
            after = None
            while True:
                page, after = await self._house.chats.page(OWNER, name, after)
                found += page
                if after is None or len(found) >= limit:
                    break
        found.sort(key=lambda chat: -chat.updated_at)
        return [_line(chat) for chat in found[:limit]]

    async def open(self, chat_id: str) -> Opened:
        chat = await self._house.chats.find(OWNER, chat_id)
        if chat is None:
            raise ChatNotFound("There is no such chat.")
        await self._house.chats.opened(OWNER, chat_id)
        path = await self._house.chats.messages(chat)
        return Opened(_line(chat), [self._as_it_is(message) for message in path])

    async def begin(self, text: str, model: str, chosen: ChatSettings) -> Asked:
        chat_id = secrets.token_hex(8)
        self._house.asking.settings_for(model)  # nothing is kept for a model that is not there
        if chosen.chosen:
            await self.choose_settings(chat_id, chosen)
        return await self.ask(chat_id, text, model)

    async def ask(self, chat_id: str, text: str, model: str) -> Asked:
        client_id = secrets.token_hex(8)
        await self._house.asking.submit(Prompt(OWNER, chat_id, text, client_id, model))
        return await self._answer_of(chat_id, client_id)

    async def again(self, chat_id: str, message_id: int, model: str) -> Asked:
        client_id = secrets.token_hex(8)
        spot = Spot(OWNER, chat_id, message_id)
        await self._house.branches.regenerate(spot, client_id, model)
        return await self._answer_of(chat_id, client_id)

    async def edit(self, chat_id: str, message_id: int, text: str, model: str) -> Asked:
        client_id = secrets.token_hex(8)
        await self._house.branches.edit(Spot(OWNER, chat_id, message_id), text, client_id, model)
        return await self._answer_of(chat_id, client_id)

    async def go_on(self, chat_id: str, message_id: int) -> Asked:
        await self._house.branches.go_on(Spot(OWNER, chat_id, message_id))
        return Asked(chat_id, message_id)

    async def follow(self, asked: Asked, start: int = 0) -> AsyncGenerator[Event]:
        chat_id, answer_id = asked.chat_id, asked.answer_id
        hub, line = self._house.hub, ""
        subscription = hub.subscribe(OWNER, chat_id)
        try:
            while (stream := hub.stream(answer_id)) is not None:
                subscription.wake.clear()
                subscription.changed.clear()
                if len(stream.text) > start:
                    piece, start = stream.text[start:], len(stream.text)
                    yield Text(piece)
                if line != (now := waiting(stream)):
                    line = now
                    yield Waiting(line)
                await subscription.wake.wait()
        finally:
            hub.unsubscribe(subscription)
        message = await self._house.branches.find(Spot(OWNER, chat_id, answer_id))
        if len(message.text) > start:
            yield Text(message.text[start:])
        yield Ended(_said(message))

    async def stop(self, chat_id: str) -> None:
        await self._house.asking.stop(OWNER, chat_id)

    async def settings(self, chat_id: str) -> ChatSettings:
        return await self._house.chats.settings(OWNER, chat_id)

    async def choose_settings(self, chat_id: str, chosen: ChatSettings) -> None:
        await self._house.chats.choose_settings(OWNER, chat_id, chosen)

    async def choose_model(self, chat_id: str, model: str) -> None:
        self._house.asking.settings_for(model)  # it is there, and sound
        await self._house.chats.choose_model(OWNER, chat_id, model)

    async def rename(self, chat_id: str, title: str) -> None:
        await self._house.chats.rename(OWNER, chat_id, title)

    async def delete(self, chat_id: str) -> None:
        await self._house.chats.delete(OWNER, chat_id)

    async def restore(self, chat_id: str) -> None:
        await self._house.chats.restore(OWNER, chat_id)

    async def erase(self, chat_id: str) -> None:
        await self._house.chats.put(OWNER, chat_id, "deleted_at", time.time())
        await self._house.trash.remove(OWNER, chat_id)

    async def search(self, words: str) -> Sequence[Found]:
        results = await self._house.search.find(OWNER, Wish(words_of(words)))
        hits = [*results.titles, *results.messages]
        return [Found(hit.chat_id, hit.title, *marked(hit.snippet)) for hit in hits]

    async def export(self, chat_id: str, form: Form) -> bytes:
        chat = await self._house.chats.find(OWNER, chat_id)
        if chat is None:
            raise ChatNotFound("There is no such chat.")
        exports = self._house.exports
        pieces = exports.markdown(chat) if form == "md" else exports.json(chat)
        return b"".join([piece async for piece in pieces])

    async def _answer_of(self, chat_id: str, client_id: str) -> Asked:
        """What a submission got: the answer carries the submission's id, or its question does."""
        path = await self._house.chats.messages(await self._house.chats.find(OWNER, chat_id))
        for place, message in enumerate(path):
            if message.client_id == client_id:
                answer = path[place + 1] if message.role == "user" else message
                return Asked(chat_id, answer.id)
        raise ChatNotFound("The chat was changed elsewhere at the same moment.")

    def _explain(self) -> None:
        """Why there is no model, when that is known."""
        for pull in self._house.pulls.all():
            raise ModelNotFound(f"There is no model on the shelf yet. {pull.error}")

    def _as_it_is(self, message: Message) -> Said:
        """With the text so far, when the answer is running."""
        stream = self._house.hub.stream(message.id)
        return _said(message, stream.text if stream is not None else None)


def _line(chat: Chat) -> ChatLine:
    return ChatLine(chat.id, chat.title, chat.model, chat.updated_at)


def _said(message: Message, text: str | None = None) -> Said:
    values = {field.name: getattr(message, field.name) for field in fields(Said)}
    return Said(**(values if text is None else values | {"text": text}))


def _choice(model: Model) -> ModelLine:
    hosts = model.remote.hosts_elsewhere if model.remote else ()
    state = f"sent to {', '.join(hosts)}" if hosts else ""
    return ModelLine(model.name, model.title, state, hosts)
