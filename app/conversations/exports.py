"""Chats as files: Markdown to read, JSON to keep. docs/export.md describes the latter."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import io
import json
import re
import time
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from app.conversations.attachments import with_files
from app.conversations.settings import parse_generation_settings, parse_stored, sanitize_text
from app.conversations.tool_calls import call_list, parse_calls
from app.db import attachments, branches, folder_documents, folders, preferences
from app.db import chats as db_chats
from app.db.attachments import Attachment
from app.db.chats import Chat
from app.db.connection import Database
from app.db.folders import Folder
from app.db.messages import FILE_COLUMNS, Message
from app.media.picture_files import PictureFiles

FORMAT, VERSION = "wick-chats", 1
_OWN: Final = frozenset({"settings", "calls"})
"""Columns that are JSON and become part of the file's own."""


def file_name(title: str, ending: str) -> str:
    """A name that every system takes, whatever the title."""
    plain = unicodedata.normalize("NFC", title)
    plain = re.sub(r"[^\w .,()+-]", " ", plain)
    plain = " ".join(plain.split()).strip(". ")[:80].strip(". ")
    return f"{plain or 'Chat'}.{ending}"


def _day(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"


def _head(chat: Chat, chosen: Mapping[str, Any], folder: Folder | None) -> dict[str, Any]:
    """A chat without its messages, as values for JSON."""
    kept = ("id", "title", "title_source", "model", "created_at", "updated_at")
    return {
        **{name: getattr(chat, name) for name in kept},
        "pinned_at": chat.pinned_at,
        "archived_at": chat.archived_at,
        **({"settings": chosen} if chosen else {}),
        **({"folder": _folder_record(folder)} if folder else {}),
        "current": chat.leaf_id,
    }


def _folder_record(folder: Folder) -> dict[str, Any]:
    return {name: getattr(folder, name) for name in ("name", "instructions", "model")}


def _message_record(
    message: Message, texts: Mapping[int, str], data: Mapping[int, bytes]
) -> dict[str, Any]:
    values = {name: getattr(message, name) for name in FILE_COLUMNS if name not in _OWN}
    kept = {name: value for name, value in values.items() if value is not None}
    # An earlier version kept whatever an import had brought.
    is_sound = parse_generation_settings(message.settings) is not None
    settings = {"settings": json.loads(message.settings or "")} if is_sound else {}
    more = {**_calls(message), **_files(message, texts, data)}
    return {"parent": message.parent_id, **kept, **settings, **more}


def _calls(message: Message) -> dict[str, Any]:
    """The tools that an answer has called, if it has any."""
    calls = [msgspec.to_builtins(call) for call in parse_calls(message.calls)]
    return {"calls": calls} if calls else {}


def _files(message: Message, texts: Mapping[int, str], data: Mapping[int, bytes]) -> dict[str, Any]:
    """The files of a message, if it has any; of pictures and sounds also their bytes."""
    files = [
        _file_record(file, texts)
        | (_media_record(file, data.get(file.id, b"")) if file.is_media else {})
        for file in message.attachments
    ]
    return {"attachments": files} if files else {}


def _file_record(file: Attachment, texts: Mapping[int, str]) -> dict[str, Any]:
    about = _document_record(file) if file.is_document else {}
    return {"name": file.name, "kind": file.kind, "text": texts.get(file.id, "")} | about


def _media_record(file: Attachment, data: bytes) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    about = {"alt": file.alt, "gives_text": file.gives_text}
    return {"media_type": file.media_type, **about, "data": encoded}


def _document_record(file: Attachment) -> dict[str, Any]:
    return {"media_type": file.media_type, "pages": file.pages, "note": file.note}


def _encoded(values: dict[str, Any]) -> bytes:
    return sanitize_text(json.dumps(values, ensure_ascii=False)).encode()


class Exports:
    """Writes one chat or all of a user's, the trash left out, a few messages at a time."""

    def __init__(self, db: Database, pictures: PictureFiles | None = None) -> None:
        self._db = db
        self._pictures = pictures

    async def markdown(self, chat: Chat) -> AsyncIterator[bytes]:
        """The path that is shown, to be read, in pieces."""
        yield f"# {chat.title}\n\n_{_day(chat.created_at)}_\n".encode()
        async for page in branches.path_pages(self._db, chat.user_id, chat.id, chat.leaf_id):
            texts = await self._texts(chat.user_id, page)
            for message in page:
                who = "You" if message.role == "user" else (message.model or "Model")
                text = with_files(message.text.strip("\n"), message.attachments, texts)
                if calls := parse_calls(message.calls):
                    text = f"{call_list(calls)}\n\n{text}".rstrip()
                text = text or "_(no text)_"
                yield f"\n## {who}\n\n{text}\n".encode()

    async def json(self, chat: Chat) -> AsyncIterator[bytes]:
        """The file with this chat alone, in pieces."""
        async for piece in self._json(chat.user_id, [chat.id]):
            yield piece

    async def all_json(self, user_id: int) -> AsyncIterator[bytes]:
        """The file with all chats and folders, and with what the user says of themselves, in
        pieces."""
        chat_ids = await db_chats.list_ids(self._db, user_id)
        about = await preferences.get_about(self._db, user_id)
        kept = await folders.list_all(self._db, user_id)
        async for piece in self._json(user_id, chat_ids, about, kept):
            yield piece

    async def _json(
        self,
        user_id: int,
        chat_ids: Sequence[str],
        about: str = "",
        kept: Sequence[Folder] = (),
    ) -> AsyncIterator[bytes]:
        head: dict[str, Any] = {"format": FORMAT, "version": VERSION, "exported_at": time.time()}
        if about:
            head["about"] = about
        yield json.dumps(head).removesuffix("}").encode()
        separator = b', "folders": [\n'
        for folder in kept:
            yield separator
            async for piece in self._folder(user_id, folder):
                yield piece
            separator = b",\n"
        yield (b"\n]" if kept else b"") + b', "chats": [\n'
        separator = b""
        async for chat in self._each(user_id, chat_ids):
            yield separator
            async for piece in self._record(chat):
                yield piece
            separator = b",\n"
        yield b"\n]}\n"

    async def _folder(self, user_id: int, folder: Folder) -> AsyncIterator[bytes]:
        """A folder with its own documents, one at a time: each may have megabytes."""
        yield _encoded(_folder_record(folder)).removesuffix(b"}") + b', "documents": ['
        separator = b""
        for one in await folder_documents.list_all(self._db, user_id, folder.id):
            if not one.owner:
                texts = await attachments.texts(self._db, user_id, [one.file.id])
                record = _file_record(one.file, texts)
                yield separator + await asyncio.to_thread(_encoded, record)
                separator = b",\n"
        yield b"]}"

    async def _record(self, chat: Chat) -> AsyncIterator[bytes]:
        """A chat with its whole tree of messages and the settings chosen for it."""
        chosen = parse_stored(
            await db_chats.get_settings(self._db, chat.user_id, chat.id)
        ).overrides
        folder = await folders.of_chat(self._db, chat.user_id, chat.id, None)
        yield _encoded(_head(chat, chosen, folder)).removesuffix(b"}") + b', "messages": ['
        separator = b""
        async for page in branches.pages(self._db, chat.user_id, chat.id):
            texts = await self._texts(chat.user_id, page)
            for message in page:
                data = await asyncio.to_thread(self._data, message)
                record = _message_record(message, texts, data)
                if data:  # megabytes of it
                    yield separator + await asyncio.to_thread(_encoded, record)
                else:
                    yield separator + _encoded(record)
                separator = b", "
        yield b"]}"

    async def _texts(self, user_id: int, page: Sequence[Message]) -> dict[int, str]:
        """The content of the files of these messages."""
        files = [file.id for message in page for file in message.attachments]
        return await attachments.texts(self._db, user_id, files) if files else {}

    def _data(self, message: Message) -> dict[int, bytes]:
        """The bytes of a message's pictures and sounds."""
        if self._pictures is None:
            return {}
        files = [file for file in message.attachments if file.is_media]
        data = {file.id: self._pictures.read(file.digest, file.media_type) for file in files}
        return {number: found for number, found in data.items() if found is not None}

    async def all_markdown(self, user_id: int) -> AsyncIterator[bytes]:
        """A zip with a file for each chat, in pieces."""
        sink, used = _StreamBuffer(), set[str]()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            async for chat in self._each(user_id, await db_chats.list_ids(self._db, user_id)):
                name = file_name(chat.title, "md")
                if name.casefold() in used:
                    name = f"{name.removesuffix('.md')} {chat.id}.md"
                used.add(name.casefold())
                with archive.open(name, "w", force_zip64=True) as file:
                    async for piece in self.markdown(chat):
                        await asyncio.to_thread(file.write, piece)
                        yield sink.take()
        yield sink.take()

    async def _each(self, user_id: int, chat_ids: Sequence[str]) -> AsyncIterator[Chat]:
        for chat_id in chat_ids:
            chat = await db_chats.get(self._db, user_id, chat_id)
            if chat is not None:  # it may have gone meanwhile
                yield chat


class _StreamBuffer(io.RawIOBase):
    """Buffer that a zip is written to: its bytes are taken away as they come."""

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
