"""Files that people give to a model: read when they come, and put before what is asked about them.

Text and code are read as they are, documents and pictures in a process of their own. `kind` says
what a file is: 'text', 'document', 'image' or 'audio'.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

import aiosqlite

from app.conversations.imports.chat import fenced, quoted
from app.conversations.passages import Passages
from app.conversations.pictures import Pictures, picture_attachment, sound_attachment
from app.conversations.settings import sanitize_text
from app.conversations.storage_quota import StorageQuota
from app.db import attachments
from app.db.attachments import Attachment, NewAttachment
from app.db.connection import Database
from app.documents.document import Document, Notify
from app.documents.kinds import is_document
from app.documents.reader import MAX_DOCUMENT_BYTES, DocumentReader
from app.errors import AttachmentNotFound, AttachmentRefused, InvalidMessage, MediaError
from app.inference.context_window import answer_reserve
from app.media.audio import is_audio
from app.media.picture_files import THUMBNAIL_TYPE
from app.media.pictures import MAX_PICTURE_BYTES, Picture, PictureDecoder, is_picture
from app.media.sounds import MAX_SOUND_FILE_BYTES, SoundDecoder
from app.models.model import Model
from app.models.parameters import GenerationSettings
from app.models.text.token_count import count_tokens, estimate_tokens

MAX_FILE_BYTES: Final = 1 << 20
MAX_FILES: Final = 10
"""Files of one message."""
MAX_CHARS: Final = 1_000_000
"""Characters of all files of one message together."""
MAX_NAME_CHARS: Final = 120
UNSENT_SECONDS: Final = 7 * 86400.0
"""After which a file that nobody sent is deleted."""
_BOMS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9+#_-]{1,20}")
MAX_ALT_CHARS: Final = 1000
MAX_PICTURE_TEXT_CHARS: Final = 50_000
MAX_NOTE_CHARS: Final = 400


class Attachments:
    """Saves, finds and removes a user's files."""

    def __init__(
        self,
        db: Database,
        pictures: Pictures,
        decoder: PictureDecoder,
        reader: DocumentReader,
        passages: Passages,
        storage: StorageQuota,
        sounds: SoundDecoder,
    ) -> None:
        self._db = db
        self._pictures = pictures
        self._decoder = decoder
        self._reader = reader
        self._passages = passages
        self._storage = storage
        self._sounds = sounds
        self._counting = asyncio.Lock()

    async def add(
        self, user_id: int, name: str, data: bytes, notify: Notify = lambda _: None
    ) -> Attachment:
        """Save a file for a message that is being written; `notify` hears of its pages.

        Raises AttachmentRefused, StorageFull.
        """
        await self._storage.check_file(user_id, len(data))
        found: list[Picture] = []
        if is_picture(name, data):
            found = [await self._decoder.decode(file_name(name, "picture"), data)]
            file = picture_attachment(file_name(name, "picture"), found[0])
        elif is_audio(name):
            name = file_name(name, "recording")
            found = [await self._sound(name, data)]
            file = sound_attachment(name, found[0])
        else:
            file = await self._read(user_id, name, data, notify)
        now = time.time()

        async def save(connection: aiosqlite.Connection) -> int:
            added = await attachments.add(connection, user_id, file, now)
            await attachments.trim_unsent(connection, user_id)
            return added

        added = await self.get(user_id, await self._pictures.save(found, save))
        self._passages.prepare(user_id, [added])
        return added

    async def read_text(self, user_id: int, name: str, data: bytes) -> NewAttachment:
        """Read a text or a document that is used elsewhere. Raises AttachmentRefused,
        StorageFull."""
        await self._storage.check_file(user_id, len(data))
        if is_picture(name, data):
            raise AttachmentRefused(f"{file_name(name)} is a picture: attach it to a message.")
        if is_audio(name):
            raise AttachmentRefused(f"{file_name(name)} is a recording: attach it to a message.")
        return await self._read(user_id, name, data)

    async def _read(
        self, user_id: int, name: str, data: bytes, notify: Notify = lambda _: None
    ) -> NewAttachment:
        if not is_document(name, data):
            return await asyncio.to_thread(read_file, name, data)
        name = file_name(name, "document")
        document = await self._reader.read(name, data, notify, user_id)
        return document_attachment(name, document, data)

    async def _sound(self, name: str, data: bytes) -> Picture:
        """Raises AttachmentRefused."""
        try:
            return await self._sounds.decode(name, data)
        except MediaError as error:
            raise AttachmentRefused(str(error)) from error

    async def get(self, user_id: int, attachment_id: int) -> Attachment:
        """Raises AttachmentNotFound."""
        found = await attachments.get(self._db, user_id, attachment_id)
        if found is None:
            raise AttachmentNotFound("There is no such file.")
        return found

    async def unsent(self, user_id: int, ids: Sequence[int]) -> list[Attachment]:
        """Find those of these files that belong to no message yet."""
        return await attachments.unsent(self._db, user_id, ids)

    async def unsent_all(self, user_id: int) -> list[Attachment]:
        """List the user's files that belong to no message and no folder."""
        return await attachments.unsent(self._db, user_id)

    async def counted(
        self, user_id: int, files: Sequence[Attachment], model: Model | None
    ) -> list[Attachment]:
        """Return the same files with the tokens this model makes of them, estimated where Wick has
        not its tokenizer."""
        if model is None:
            return [replace(file, counted_by="") for file in files]
        unknown = [file.id for file in files if not (file.is_media or _is_of(file, model))]
        counts = await self._count(user_id, unknown, model) if unknown else {}
        known = [file for file in files if file.is_media or _is_of(file, model)]
        now = {file.id: file for file in known}
        shown = [f for f in known if f.is_picture and not model.sees]
        shown += [f for f in known if f.is_sound and not model.hears]
        texts = await attachments.texts(self._db, user_id, [file.id for file in shown])
        now |= {  # of what it cannot see or hear, a model reads the text
            file.id: replace(file, tokens=estimate_tokens(media_block(file, texts[file.id])))
            for file in shown
            if file.id in texts
        }
        now |= {
            file.id: replace(file, tokens=counts[file.id], counted_by=model.name)
            for file in files
            if file.id in counts
        }
        return [now.get(file.id) or replace(file, counted_by="") for file in files]

    async def _count(self, user_id: int, ids: Sequence[int], model: Model) -> dict[int, int]:
        """Count the tokens of files and keep the numbers with them."""
        texts = await attachments.texts(self._db, user_id, ids)
        async with self._counting:  # one process at a time
            counts = await count_tokens(model, list(texts.values()))
        if counts is None:
            return {}
        found = dict(zip(texts, counts, strict=True))

        async def save(connection: aiosqlite.Connection) -> None:
            for one, tokens in found.items():
                await attachments.set_tokens(connection, user_id, one, tokens, model.name)

        await self._db.write(save)
        return found

    async def text(self, user_id: int, attachment_id: int) -> str:
        """Read what models are given of a file. Raises AttachmentNotFound."""
        texts = await attachments.texts(self._db, user_id, [attachment_id])
        if attachment_id not in texts:
            raise AttachmentNotFound("There is no such file.")
        return texts[attachment_id]

    async def picture(self, file: Attachment, *, is_thumbnail: bool = False) -> bytes:
        """Read the file of a picture or sound, or a picture's thumbnail. Raises
        AttachmentNotFound."""
        media_type = THUMBNAIL_TYPE if is_thumbnail else file.media_type
        data = None
        if file.is_picture or (file.is_sound and not is_thumbnail):
            files = self._pictures.files
            data = await asyncio.to_thread(files.read, file.digest, media_type)
        if data is None:
            raise AttachmentNotFound("There is no such picture.")
        return data

    async def describe(self, user_id: int, attachment_id: int, alt: str) -> Attachment:
        """Set what a picture shows, in a line. Raises AttachmentNotFound."""
        alt = " ".join(sanitize_text(alt).split())[:MAX_ALT_CHARS]
        if not await self._db.write(lambda c: attachments.describe(c, user_id, attachment_id, alt)):
            raise AttachmentNotFound("There is no such picture.")
        return await self.get(user_id, attachment_id)

    async def set_picture_text(
        self, user_id: int, attachment_id: int, text: str, *, gives: bool
    ) -> Attachment:
        """Set the text in a picture or sound that is not sent. Raises AttachmentNotFound."""
        text = sanitize_text(text).strip()[:MAX_PICTURE_TEXT_CHARS]
        if not await self._db.write(
            lambda c: attachments.set_picture_text(c, user_id, attachment_id, text, gives=gives)
        ):
            raise AttachmentNotFound("There is no such picture, or it was sent already.")
        return await self.get(user_id, attachment_id)

    async def shown_in(self, user_id: int, chat_id: str, attachment_id: int) -> Attachment:
        """A file of this chat. Raises AttachmentNotFound."""
        found = await attachments.find_shown(self._db, user_id, chat_id, attachment_id)
        if found is None:
            raise AttachmentNotFound("There is no such file.")
        return found

    async def remove(self, user_id: int, attachment_id: int) -> None:
        """Remove a file that is not sent. Raises AttachmentNotFound."""
        if not await self._db.write(lambda c: attachments.remove_unsent(c, user_id, attachment_id)):
            raise AttachmentNotFound("There is no such file, or it was sent already.")


def _is_of(file: Attachment, model: Model) -> bool:
    return file.counted_by == model.name


@dataclass(frozen=True, slots=True)
class PromptLimit:
    """Limit of a prompt for a model: `tokens` at once. model: its name; title: what people call
    it."""

    model: str
    title: str
    tokens: int

    @classmethod
    def of(cls, model: Model, made_with: GenerationSettings) -> PromptLimit | None:
        """None while the size of its window is not known."""
        size = made_with.context_length
        if not size:
            return None
        tokens = size - answer_reserve(made_with.max_tokens, size)
        return cls(model.name, model.title, tokens)

    def warning(self, file: Attachment) -> str:
        """Say that files such as this one do not fit, and what happens to them or helps."""
        begin = "Too large" if file.is_picture else "Too long"
        if not file.counted_by:
            begin = f"Probably {begin.lower()}"
        if file.is_picture:
            end = "Remove a picture, or choose another model."
        elif file.is_sound:
            end = "Turn a recording into text, or choose another model."
        else:
            end = "It gets the passages that fit each question."
        return f"{begin} for {self.title}, which reads up to {self.tokens:,} tokens at once. {end}"


async def check_unsent(db: Database, user_id: int, ids: Sequence[int]) -> None:
    """Check whether one message may have these files. Raises InvalidMessage."""
    if len(ids) > MAX_FILES:
        raise InvalidMessage(f"Attach at most {MAX_FILES} files to a message.")
    total = await attachments.chars(db, user_id, ids)
    if total > MAX_CHARS:
        raise InvalidMessage(
            f"The attached files are {total:,} characters long together; the limit is"
            f" {MAX_CHARS:,}. Remove some."
        )


def max_bytes(name: str) -> int:
    """The most bytes that a file of this name may have."""
    if is_picture(name, b""):
        return MAX_PICTURE_BYTES
    if is_audio(name):
        return MAX_SOUND_FILE_BYTES
    return MAX_DOCUMENT_BYTES if is_document(name, b"") else MAX_FILE_BYTES


def read_file(name: str, data: bytes) -> NewAttachment:
    """Read a file that is text. Raises AttachmentRefused for what is none, or too large."""
    name = file_name(name)
    if len(data) > MAX_FILE_BYTES:
        raise AttachmentRefused(f"{name} is too large: the limit is {MAX_FILE_BYTES >> 20} MB.")
    text = _decoded(data)
    if text is None:
        raise AttachmentRefused(f"{name} is not a text file, so the model can't read it.")
    if not text.strip():
        raise AttachmentRefused(f"{name} is empty.")
    return _text_attachment(name, text, data)


def document_attachment(name: str, document: Document, data: bytes) -> NewAttachment:
    return NewAttachment(
        name=name,
        kind="document",
        media_type=document.media_type,
        size=len(data),
        digest=hashlib.sha256(data).hexdigest(),
        text=document.text,
        tokens=estimate_tokens(document.text),
        pages=document.pages,
        note=document.note,
    )


def imported_text(name: str, text: str, about: Mapping[str, Any]) -> NewAttachment:
    """A file of which an export has kept name and text, and of a document also what it was."""
    file = _text_attachment(name, text, text.encode())
    if not (media_type := about.get("media_type")):
        return file
    kept = {"pages": about["pages"], "note": about["note"][:MAX_NOTE_CHARS]}
    return replace(file, kind="document", media_type=media_type, **kept)


def imported_media(name: str, data: bytes, about: Mapping[str, Any]) -> NewAttachment:
    """A picture or sound of which an export has kept the bytes, which nobody has decoded yet."""
    kind: str = about["kind"]
    return NewAttachment(
        name=file_name(name, "recording" if kind == "audio" else "picture"),
        kind=kind,
        media_type="",
        size=len(data),
        digest=hashlib.sha256(data).hexdigest(),
        text=about["text"][:MAX_PICTURE_TEXT_CHARS],
        tokens=0,
        alt=" ".join(about["alt"].split())[:MAX_ALT_CHARS],
        gives_text=about["gives_text"],
    )


def _text_attachment(name: str, text: str, data: bytes) -> NewAttachment:
    return NewAttachment(
        name=file_name(name),
        kind="text",
        media_type="text/plain",
        size=len(data),
        digest=hashlib.sha256(data).hexdigest(),
        text=text,
        tokens=estimate_tokens(text),
    )


def file_name(name: str, spare: str = "file.txt") -> str:
    """The last part of a path, on one line and not too long; its ending stays."""
    name = " ".join(sanitize_text(name).replace("\\", "/").rpartition("/")[2].split())
    if len(name) > MAX_NAME_CHARS:
        ending = PurePosixPath(name).suffix[:20]
        name = name[: MAX_NAME_CHARS - len(ending) - 1] + "…" + ending
    return name or spare


def _decoded(data: bytes) -> str | None:
    """The text of a file in UTF-8, UTF-16 or Windows-1252; None for what is no text."""
    encodings = [code for bom, code in _BOMS.items() if data.startswith(bom)]
    for encoding in encodings or ["utf-8", "cp1252"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if _CONTROL.search(text) else sanitize_text(text)
    return None


def with_files(
    text: str,
    files: Sequence[Attachment],
    texts: Mapping[int, str],
    lines: Mapping[int, str] | None = None,
) -> str:
    """A message as a model that sees no pictures reads it: its files, each in a fenced block, or
    as one of these lines, then what was written."""
    lines = lines or {}
    blocks = [
        lines.get(file.id) or _as_text(file, texts[file.id])
        for file in files
        if file.id in texts or file.id in lines
    ]
    return "\n\n".join([*blocks, *([text] if text else [])])


def _as_text(file: Attachment, text: str) -> str:
    if file.is_document:
        note = f"\n{file.note}" if file.note else ""
        return f"{file.name}:{note}\n{fenced(text, '')}"
    return media_block(file, text) if file.is_media else as_block(file.name, text)


def media_block(file: Attachment, text: str) -> str:
    """A picture or sound as Markdown for whoever cannot see or hear it: what it shows, and the
    text in it."""
    what = "Recording" if file.is_sound else "Picture"
    about = f"{what} {file.name}" + (f": {file.alt}" if file.alt else "")
    if not text.strip() or not file.gives_text:
        return f"[{about}]"
    head = "What is said in it" if file.is_sound else "Text in the picture"
    return f"[{about}]\n{head}:\n{quoted(text)}"


def as_block(name: str, text: str) -> str:
    """A file as Markdown: its name, and its content in a fence that nothing in it ends."""
    ending = PurePosixPath(name).suffix.removeprefix(".").lower()
    return f"{name}:\n{fenced(text, ending if _LANGUAGE.fullmatch(ending) else '')}"
