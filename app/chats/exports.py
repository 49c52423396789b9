"""Chats as files: Markdown to read, JSON to keep. docs/export.md describes the latter."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import re
import time
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from typing import Any

from app.chats.chat_settings import stored
from app.store import chat_settings, chats, lists, messages, tree
from app.store.chats import Chat
from app.store.db import Database
from app.store.messages import Message

FORMAT, VERSION = "wick-chats", 1
_HIDDEN = {"chat_id", "client_id", "parent_id", "dropped", "settings"}


def file_name(title: str, ending: str) -> str:
    """A name that every system takes, whatever the title."""
    plain = unicodedata.normalize("NFC", title)
    plain = re.sub(r"[^\w .,()+-]", " ", plain)
    plain = " ".join(plain.split()).strip(". ")[:80].strip(". ")
    return f"{plain or 'Chat'}.{ending}"


def markdown_of(chat: Chat, path: Sequence[Message]) -> str:
    """The path that is shown, to be read."""
    parts = [f"# {chat.title}", f"_{_day(chat.created_at)}_"]
    for message in path:
        who = "You" if message.role == "user" else (message.model or "Model")
        parts += [f"## {who}", message.text.strip("\n") or "_(no text)_"]
    return "\n\n".join(parts) + "\n"


def _day(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"


def record_of(chat: Chat, every: Sequence[Message], chosen: dict[str, Any]) -> dict[str, Any]:
    """A chat with its whole tree of messages and the settings chosen for it, as values for JSON."""
    kept = ("id", "title", "title_source", "model", "created_at", "updated_at")
    return {
        **{name: getattr(chat, name) for name in kept},
        "pinned_at": chat.pinned_at,
        "archived_at": chat.archived_at,
        **({"settings": chosen} if chosen else {}),
        "current": chat.leaf_id,
        "messages": [_message_record(message) for message in every],
    }


def _message_record(message: Message) -> dict[str, Any]:
    values = {field.name: getattr(message, field.name) for field in fields(message)}
    kept = {k: v for k, v in values.items() if k not in _HIDDEN and v is not None}
    settings = json.loads(message.settings) if message.settings else None
    return {"parent": message.parent_id, **kept, **({"settings": settings} if settings else {})}


class Exports:
    """Writes one chat or all of a person's, the trash left out, in memory for one at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def markdown(self, chat: Chat) -> str:
        return markdown_of(chat, await messages.path(self._db, chat.user_id, chat.id, chat.leaf_id))

    async def json(self, chat: Chat) -> AsyncIterator[bytes]:
        """The file with this chat alone, in pieces."""
        async for piece in self._json(chat.user_id, [chat.id]):
            yield piece

    async def all_json(self, user_id: int) -> AsyncIterator[bytes]:
        async for piece in self._json(user_id, await lists.every_id(self._db, user_id)):
            yield piece

    async def _json(self, user_id: int, chat_ids: Sequence[str]) -> AsyncIterator[bytes]:
        head = {"format": FORMAT, "version": VERSION, "exported_at": time.time()}
        yield json.dumps(head).removesuffix("}").encode() + b', "chats": [\n'
        separator = b""
        async for chat in self._each(user_id, chat_ids):
            every = await tree.every_message(self._db, chat.user_id, chat.id)
            chosen = stored(await chat_settings.find(self._db, chat.user_id, chat.id)).chosen
            record = record_of(chat, every, chosen)
            yield separator + json.dumps(record, ensure_ascii=False).encode()
            separator = b",\n"
        yield b"\n]}\n"

    async def all_markdown(self, user_id: int) -> AsyncIterator[bytes]:
        """A zip with a file for each chat, in pieces."""
        sink, used = _Sink(), set[str]()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            async for chat in self._each(user_id, await lists.every_id(self._db, user_id)):
                name = file_name(chat.title, "md")
                if name.casefold() in used:
                    name = f"{name.removesuffix('.md')} {chat.id}.md"
                used.add(name.casefold())
                text = await self.markdown(chat)
                await asyncio.to_thread(archive.writestr, name, text)
                yield sink.take()
        yield sink.take()

    async def _each(self, user_id: int, chat_ids: Sequence[str]) -> AsyncIterator[Chat]:
        for chat_id in chat_ids:
            chat = await chats.find(self._db, user_id, chat_id)
            if chat is not None:  # it may have gone meanwhile
                yield chat


class _Sink(io.RawIOBase):
    """What a zip is written to: bytes that are taken away as they come."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data
