"""Taking in chats from a file that Wick, ChatGPT or Open WebUI has written."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

import aiosqlite
import msgspec

from app.age import WRONG, encode_passphrase, is_encrypted_file
from app.audit import audit
from app.background import BackgroundTasks
from app.conversations.hub import Hub
from app.conversations.imports.reader import DAMAGED, REFUSED, TOO_MUCH, ReadingLimits
from app.conversations.pictures import Pictures, picture_attachment, sound_attachment
from app.conversations.quotas import RETRY_SECONDS
from app.conversations.storage_quota import StorageQuota
from app.db import (
    attachments,
    chats,
    folder_documents,
    folders,
    import_holders,
    imports,
    preferences,
)
from app.db.attachments import NewAttachment
from app.db.connection import Database
from app.db.imports import StagedImport, open_staged
from app.errors import (
    AttachmentRefused,
    DiskFull,
    InvalidMessage,
    InvalidPassphrase,
    LimitReached,
    MediaError,
    WickError,
)
from app.logs.child import relay_noise
from app.media.picture_files import PictureMemory
from app.media.pictures import Picture, PictureDecoder
from app.media.sounds import SoundDecoder

log = logging.getLogger(__name__)
PURGE_INTERVAL_SECONDS: Final = 600.0
"""Seconds between two looks for what was cut short."""
UNDO_SECONDS: Final = 60.0
COPIED_BYTES: Final = 1 << 20
DISK_FULL_MESSAGE: Final = (
    "There is no room left for temporary files here, so nothing was imported."
)
PROTECTED: Final = "This file is protected. Enter its passphrase."


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Result of importing a file. trashed: chats that are there, but in the trash.

    left_out: names and reasons, of as many as are listed; omitted: how many there are. has_about:
    what the file's user says of themselves was kept, too. documents: those of folders that are new.
    """

    added: int
    skipped: int
    empty: int
    trashed: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    omitted: int = 0
    has_about: bool = False
    documents: int = 0

    @property
    def sentence(self) -> str:
        added = _chats(self.added)
        if self.documents:
            plural = "" if self.documents == 1 else "s"
            added += f" and {self.documents:,} document{plural} of folders"
        parts = [f"{added} imported"]
        if self.skipped:
            parts.append(f"{self.skipped} {'was' if self.skipped == 1 else 'were'} there already")
        if self.trashed:
            parts.append(f"{self.trashed} {'is' if self.trashed == 1 else 'are'} in the trash")
        if self.empty:
            parts.append(f"{self.empty} {'was' if self.empty == 1 else 'were'} empty")
        return ", ".join(parts) + "." + (" “About me” was filled in." if self.has_about else "")

    @property
    def details(self) -> list[str]:
        """A line for each thing that was left out."""
        lines = [f"Left out of the import: {name} ({reason})" for name, reason in self.left_out]
        if more := self.omitted - len(self.left_out):
            lines.append(f"Left out as well: {more:,} more")
        return lines


def _chats(count: int) -> str:
    return "1 chat" if count == 1 else f"{count:,} chats"


class ImportedPictures:
    """Decodes the pictures and sounds of a file that is imported, and keeps them."""

    def __init__(
        self,
        pictures: Pictures,
        decoder: PictureDecoder | None = None,
        sounds: SoundDecoder | None = None,
    ) -> None:
        self.pictures = pictures
        self._decoders: dict[str, PictureDecoder | SoundDecoder] = {
            "image": decoder or PictureDecoder(),
            "audio": sounds or SoundDecoder(),
        }

    async def decoded(
        self, files: Sequence[Sequence[NewAttachment]], staged: StagedImport
    ) -> tuple[list[list[NewAttachment]], list[Picture]]:
        """The files of some messages with their pictures and sounds decoded, those that are
        damaged left out and noted; and what was decoded."""
        found = dict[str, Picture]()
        for file in (file for some in files for file in some if file.kind in self._decoders):
            if file.digest in found:
                continue
            try:
                data = await staged.picture(file.digest)
                found[file.digest] = await self._decoders[file.kind].decode(file.name, data)
            except (AttachmentRefused, MediaError) as error:
                staged.note_left_out(file.name, str(error))
        kept = [[_with_picture(file, found) for file in some] for some in files]
        return [[file for file in some if file is not None] for some in kept], list(found.values())


def _with_picture(file: NewAttachment, found: Mapping[str, Picture]) -> NewAttachment | None:
    if file.kind not in {"image", "audio"}:
        return file
    if file.digest not in found:
        return None
    if file.kind == "audio":
        made = sound_attachment(file.name, found[file.digest], file.text)
    else:
        made = picture_attachment(file.name, found[file.digest], file.alt, file.text)
    return replace(made, gives_text=file.gives_text)


class Imports:
    def __init__(
        self,
        db: Database,
        hub: Hub,
        limits: ReadingLimits | None = None,
        pictures: ImportedPictures | None = None,
        storage: StorageQuota | None = None,
    ) -> None:
        self._db = db
        self._storage = storage
        self._pictures = pictures or ImportedPictures(Pictures(db, PictureMemory()))
        self._hub = hub
        self._limits = limits or ReadingLimits()
        self._turn = asyncio.Lock()
        self._coming: set[int] = set()
        self._filling = import_holders.being_filled(db)
        self._tasks = BackgroundTasks()

    @contextmanager
    def reserve_slot(self, user_id: int) -> Iterator[None]:
        """Hold the user's one place for a file that comes, and its space on the disk.

        Raises LimitReached.
        """
        if user_id in self._coming:
            audit("limit-reached", limit="imports", user=user_id)
            raise LimitReached(
                "Another import of yours is running. Wait until it is done.",
                RETRY_SECONDS,
            )
        self._coming.add(user_id)
        try:
            yield
        finally:
            self._coming.discard(user_id)

    async def import_file(
        self, user_id: int, file: IO[bytes], passphrase: str = ""
    ) -> ImportReport:
        """Add the chats of this file, all or none: also when the caller is cancelled, or Wick dies.

        passphrase: of an encrypted file. Raises InvalidMessage, a sentence, when it is too large,
        damaged or of an unknown kind, InvalidPassphrase, and StorageFull.
        """
        if not passphrase and await asyncio.to_thread(is_encrypted_file, file):
            raise InvalidPassphrase(PROTECTED)
        if self._storage is not None:
            await self._storage.check(user_id)
        with _folder() as folder:
            rows = Path(folder) / "rows.db"
            async with self._turn:  # one at a time is in memory
                await self._read(file, rows, passphrase)
            async with open_staged(rows) as staged:
                report = await self._add(user_id, staged)
        if report.added or report.documents:
            self._hub.chats_changed(user_id)
        return report

    async def _read(self, file: IO[bytes], rows: Path, passphrase: str) -> None:
        """Read the file into rows, in a process of its own
        (`app/conversations/imports/reader.py`)."""
        with (
            await asyncio.to_thread(_on_disk, file, rows.parent) as source,
            _pipe_with(passphrase) as pipe,
        ):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.conversations.imports.reader", str(rows)),
                msgspec.json.encode(self._limits).decode(),
                str(pipe),
                stdin=source,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(pipe,),
            )
            try:
                async with asyncio.timeout(self._limits.wall_seconds):
                    said, noise = await process.communicate()
            except TimeoutError as error:
                raise InvalidMessage(TOO_MUCH) from error
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode == 0:
            return
        sentence = said.decode("utf-8", "replace").strip()
        if process.returncode == REFUSED and sentence == WRONG:
            raise InvalidPassphrase(sentence)
        if process.returncode == REFUSED and sentence:
            raise InvalidMessage(sentence)
        raise _why(process.returncode, noise.decode("utf-8", "replace"))

    async def _add(self, user_id: int, staged: StagedImport) -> ImportReport:
        """Write all of it for a holder, then hand that over."""
        holder = await self._db.write(lambda c: import_holders.add(c, user_id))
        self._filling.add(holder)
        try:
            documents = await self._fill_folders(holder, user_id, staged)
            fates = await self._fill(holder, user_id, staged)
            named, omitted = await staged.left_out()
            empty = await staged.empty()
            about = await staged.about()
            has_about = await self._db.write(lambda c: _complete(c, holder, user_id, about))
        except BaseException:
            self._tasks.spawn(self._undo(holder), "undoing an import")
            raise
        await self._tasks.run_shielded(self._deliver(holder), "end of an import")
        return ImportReport(
            fates.count("new"),
            fates.count("there"),
            empty,
            fates.count("in the trash"),
            named,
            omitted,
            has_about,
            documents,
        )

    async def _fill_folders(self, holder: int, user_id: int, staged: StagedImport) -> int:
        """Add the folders of a file with the documents that the user's have not; count these."""
        now, count = time.time(), 0
        for place, values in (await staged.folders()).items():
            folder = await self._db.write(
                lambda c, v=values: folders.named(c, holder, **v, now=now)  # type: ignore[misc]
            )
            found = await staged.next_document(place, 0)
            while found is not None:
                number, file = found
                if not await folder_documents.has_text(
                    self._db, user_id, values["name"], file.text
                ):
                    await self._db.write(
                        lambda c, f=file, to=folder: attachments.add(  # type: ignore[misc]
                            c, user_id, f, now, folder_id=to
                        )
                    )
                    count += 1
                found = await staged.next_document(place, number)
        return count

    async def _fill(self, holder: int, user_id: int, staged: StagedImport) -> list[str]:
        fates, place = list[str](), -1
        while (chat := await staged.next_chat(place)) is not None:
            place = chat["place"]
            fates.append(await imports.fate(self._db, user_id, chat))
            if fates[-1] == "new":
                if self._storage is not None:
                    await self._storage.check_chats(user_id, fates.count("new") - 1)
                chat_id = await self._db.write(lambda c, r=chat: imports.add_chat(c, holder, r))  # type: ignore[misc]
                await self._fill_chat(holder, chat_id, place, chat["leaf"], staged)
        return fates

    async def _fill_chat(
        self, holder: int, chat_id: str, place: int, leaf: int, staged: StagedImport
    ) -> None:
        ids = list[int]()
        while rows := await staged.messages(
            place, len(ids), import_holders.STEP_ROWS, import_holders.STEP_CHARS
        ):
            listed = [_listed(row) for row in rows]
            files, found = await self._pictures.decoded(listed, staged)
            await self._pictures.pictures.save(
                found,
                lambda c, r=rows, f=files: imports.add_messages(c, holder, chat_id, r, ids, f),  # type: ignore[misc]
            )
        await self._db.write(lambda c: chats.set_leaf(c, holder, chat_id, ids[leaf]))

    async def _deliver(self, holder: int) -> None:
        try:
            await import_holders.deliver(self._db, holder)
        finally:
            self._filling.discard(holder)

    async def _undo(self, holder: int) -> None:
        try:
            await import_holders.erase(self._db, holder)
        finally:
            self._filling.discard(holder)

    async def settled(self) -> None:
        """Wait until what broke off has been undone."""
        await self._tasks.drain(UNDO_SECONDS)

    async def finish(self) -> None:
        """Bring to its end what a crash or a full disk has cut short, one way or the other."""
        for holder, is_whole in await import_holders.unfinished(self._db):
            if holder in self._filling:
                continue
            await (self._deliver(holder) if is_whole else self._undo(holder))

    async def finish_periodically(self) -> None:
        """Finish at once and then every while, until cancelled."""
        while True:
            try:
                await self.finish()
            except WickError as error:
                log.warning("An import could not be cleared away yet: %s", error)
            await asyncio.sleep(PURGE_INTERVAL_SECONDS)


async def _complete(
    connection: aiosqlite.Connection, holder: int, user_id: int, about: str
) -> bool:
    """Seal a holder, and keep what is said "about me" at once; return whether that was kept."""
    await import_holders.seal(connection, holder)
    return bool(about) and await preferences.add_about(connection, user_id, about, time.time())


def _listed(row: sqlite3.Row) -> list[NewAttachment]:
    """The files of a staged message."""
    return msgspec.json.decode(row["attachments"] or "[]", type=list[NewAttachment])


@contextmanager
def _folder() -> Iterator[str]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="wick-import-")
    except OSError as error:
        raise DiskFull(DISK_FULL_MESSAGE) from error
    with folder as path:
        yield path


@contextmanager
def _pipe_with(passphrase: str) -> Iterator[int]:
    """Yield the end of a pipe from which a child reads the passphrase: arguments are seen by all
    users of this computer."""
    encoded = encode_passphrase(passphrase)
    pipe, sink = os.pipe()
    try:
        with os.fdopen(sink, "wb") as file:
            file.write(encoded)  # less than a pipe holds
        yield pipe
    finally:
        os.close(pipe)


def _on_disk(file: IO[bytes], folder: Path) -> IO[bytes]:
    """The file as one that another process can read. Raises DiskFull."""
    try:
        file.seek(0)
        with suppress(io.UnsupportedOperation, AttributeError):
            number = file.fileno()
            file.flush()
            return open(number, "rb", closefd=False)
        copy = (folder / "file").open("w+b")
        shutil.copyfileobj(file, copy, COPIED_BYTES)
        copy.seek(0)
    except OSError as error:
        raise DiskFull(DISK_FULL_MESSAGE) from error
    return copy


def _why(code: int | None, noise: str) -> WickError:
    """Describe what ended the process that read a file."""
    log.info("A file was not imported; its reader ended with %s.", code)
    relay_noise(noise.encode(), "reader of imports", log)
    if "disk is full" in noise or "disk I/O error" in noise:
        return DiskFull(DISK_FULL_MESSAGE)
    return InvalidMessage(DAMAGED if code == 1 else TOO_MUCH)
