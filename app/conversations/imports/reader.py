"""Reads a file of chats into rows: `python -m app.conversations.imports.reader ROWS LIMITS PIPE`.

A foreign file may hold the interpreter for long, take all memory or break a library, so this is a
process of its own with bounds on time, memory and size, which its parent may end at any time. It
writes what it has read to ROWS, a database that only the parent reads (`app/db/imports.py`).
The file is on standard input; its passphrase, if it is encrypted, comes through the pipe of that
number. Exits with REFUSED and a sentence on standard output for a file that is none.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import os
import re
import resource
import secrets
import sqlite3
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from app.age import CHUNK_BYTES, EncryptedReader, is_encrypted_file
from app.conversations.attachments import imported_media, imported_text
from app.conversations.imports.chat import (
    ImportedAbout,
    ImportedConversation,
    ImportedFolder,
    ImportedMessage,
    Json,
    SkippedChat,
)
from app.conversations.imports.formats import UNKNOWN, Entry, parse_export
from app.conversations.settings import parse_generation_settings, sanitize, sanitize_text
from app.conversations.titles import NAME_CHARS, title_of
from app.db import imports
from app.db.attachments import NewAttachment
from app.errors import EncryptionError, InvalidMessage
from app.logs.child import log_to_parent
from app.media.pictures import MAX_PICTURE_BYTES

log = logging.getLogger(__name__)
MAX_FILE_BYTES = 200 << 20
"""Packed and unpacked."""
REFUSED = 3
DAMAGED = "Can't read this file. It isn't a supported export."
LOCKED = "Cannot open this zip. Unpack it first."
TOO_MUCH = "This file is too large for one import. Split it."


class ReadingLimits(msgspec.Struct, frozen=True):
    """Limits of reading one file.

    size: bytes, packed and unpacked; parts, commas: signs of JSON, since each object, list and
    entry costs many times its size in memory; messages: of one chat; wall_seconds: by
    the clock, after which it is ended.
    """

    size: int = MAX_FILE_BYTES
    parts: int = 5_000_000
    commas: int = 20_000_000
    messages: int = 20_000
    memory: int = 3 << 29
    cpu_seconds: int = 60
    wall_seconds: float = 180.0


def main() -> int:
    log_to_parent()
    limits = msgspec.json.decode(sys.argv[2], type=ReadingLimits)
    _confine(limits)
    try:
        with contextlib.closing(imports.create_staging(Path(sys.argv[1]))) as rows:
            _take(rows, _decrypted(sys.stdin.buffer), limits)
            rows.commit()
    except (InvalidMessage, EncryptionError) as error:
        return _refuse(str(error))
    except RecursionError:
        return _refuse(DAMAGED)
    except MemoryError:
        return _refuse(TOO_MUCH)
    return 0


def _decrypted(file: IO[bytes]) -> IO[bytes]:
    """Read the file, or what it holds encrypted. Raises InvalidPassphrase, DecryptionFailed."""
    with os.fdopen(int(sys.argv[3]), "rb") as pipe:
        passphrase = pipe.read().decode()
    if not is_encrypted_file(file):
        return file
    return io.BufferedReader(EncryptedReader(file, passphrase), CHUNK_BYTES)


def _refuse(sentence: str) -> int:
    print(sentence)
    return REFUSED


def _confine(limits: ReadingLimits) -> None:
    """Take no more than allowed, and only what others leave of the processor."""
    bounds = {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: 4 * limits.size + (64 << 20),
        resource.RLIMIT_CORE: 0,
    }
    for which, most in bounds.items():
        with contextlib.suppress(OSError, ValueError):  # what the system does not know, or forbids
            resource.setrlimit(which, (most, most))
    os.nice(5)


def _take(rows: sqlite3.Connection, file: IO[bytes], limits: ReadingLimits) -> None:
    now, places = time.time(), dict[str, int]()
    is_known = False
    for place, found in enumerate(_found(file, limits)):
        is_known = True
        if isinstance(found, ImportedAbout):
            imports.stage_about(rows, found.text)
            continue
        if isinstance(found, ImportedFolder):
            imports.stage_folder(rows, place, found.values, map(_document, found.documents))
            continue
        if isinstance(found, SkippedChat):
            imports.count_left_out(rows, found.name, found.reason)
            continue
        if found.omitted:
            plural = "" if found.omitted == 1 else "s"
            reason = f"{found.omitted:,} message{plural} without text that can be imported"
            imports.count_left_out(rows, _prepared(found, now)["title"], reason)
        if not found.nodes:
            imports.count_empty(rows)
            continue
        if len(found.nodes) > limits.messages:
            reason = f"{len(found.nodes):,} messages, and a chat has at most {limits.messages:,}"
            imports.count_left_out(rows, _prepared(found, now)["title"], reason)
            continue
        if found.key in places:
            imports.unstage_chat(rows, places[found.key])
        places[found.key] = place
        imports.stage_chat(rows, place, _prepared(found, now), _messages(found, now))
    if not is_known:
        raise InvalidMessage(UNKNOWN)


def _found(file: IO[bytes], limits: ReadingLimits) -> Iterator[Entry]:
    """Read the file; a part of a zip that cannot be read keeps no other from being read."""
    size = file.seek(0, 2)
    file.seek(0)
    if size > limits.size:
        raise InvalidMessage(f"This file is too large: the limit is {limits.size >> 20} MB.")
    signs = _Signs(limits)
    is_zip = file.read(2) == b"PK"
    file.seek(0)
    if is_zip:
        yield from _in_zip(file, limits, signs)
        return
    yield from parse_export(_loaded(file.read(), signs))


def _in_zip(file: IO[bytes], limits: ReadingLimits, signs: _Signs) -> Iterator[Entry]:
    with _opened(file) as archive:
        members = [m for m in archive.infolist() if _has_chats(m.filename)]
        if not members:
            raise InvalidMessage("There is no conversations.json in this zip.")
        if sum(member.file_size for member in members) > limits.size:
            raise InvalidMessage(
                f"The content of this zip is too large: the limit is {limits.size >> 20} MB."
            )
        problems = list[tuple[str, InvalidMessage]]()
        for member in members:
            name = sanitize_text(PurePosixPath(member.filename).name)
            try:
                yield from parse_export(_loaded(_unpacked(archive, member), signs))
            except InvalidMessage as error:
                if str(error) == TOO_MUCH:
                    raise
                problems.append((name, error))
        if len(problems) == len(members):
            raise problems[0][1]
        yield from (SkippedChat(name, str(error).rstrip(".")) for name, error in problems)


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except MemoryError:
        raise
    except Exception as error:  # zipfile, struct and codecs raise a dozen kinds on a damaged one
        raise InvalidMessage(DAMAGED) from error


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(member)
    except MemoryError:
        raise
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression, or a password
        raise InvalidMessage(LOCKED) from error
    except Exception as error:  # zlib's, lzma's and bz2's own kinds among them
        raise InvalidMessage(DAMAGED) from error


class _Signs:
    """Counts the signs of JSON in all parts of a file."""

    def __init__(self, limits: ReadingLimits) -> None:
        self._parts, self._commas = limits.parts, limits.commas

    def spend(self, content: bytes) -> None:
        self._parts -= content.count(b"{") + content.count(b"[")
        self._commas -= content.count(b",")
        if self._parts < 0 or self._commas < 0:
            raise InvalidMessage(TOO_MUCH)


def _loaded(content: bytes, signs: _Signs) -> Any:
    signs.spend(content)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(DAMAGED) from error


def _has_chats(name: str) -> bool:
    """`conversations.json`, or the numbered parts of a large one."""
    return bool(re.fullmatch(r"conversations(-\d+)?\.json", PurePosixPath(name).name))


def _prepared(chat: ImportedConversation, now: float) -> dict[str, Any]:
    places = {node.key: place for place, node in enumerate(chat.nodes)}
    times = [node.at for node in chat.nodes if node.at is not None]
    created = min(now, chat.created_at or min(times, default=now))
    updated = min(now, chat.updated_at or max(times, default=created))
    own_id = chat.key.removeprefix("wick:")
    spare_id, chosen = secrets.token_hex(8), sanitize(chat.settings)
    first = next((node.text for node in chat.nodes if node.text.strip()), "")
    return {
        "id": own_id if re.fullmatch(r"[0-9a-f]{16}", own_id) else spare_id,
        "spare_id": spare_id,
        "import_key": chat.key,
        "title": title_of(chat.title, NAME_CHARS) or title_of(first[:1000]) or "Imported chat",
        "title_source": "person" if chat.is_named else "model",
        "model": chat.model,
        "created_at": created,
        "updated_at": updated,
        "pinned_at": updated if chat.is_pinned else None,
        "archived_at": updated if chat.is_archived else None,
        "folder": msgspec.json.encode(chat.folder).decode() if chat.folder else None,
        "settings": chosen.to_json() if chosen.overrides else None,
        "leaf": places[chat.current or chat.nodes[-1].key] if chat.nodes else None,
    }


def _messages(chat: ImportedConversation, now: float) -> Iterator[dict[str, Any]]:
    places = {node.key: place for place, node in enumerate(chat.nodes)}
    started = min(now, chat.created_at or now)
    return (_columns(node, places, started) for node in chat.nodes)


def _columns(node: ImportedMessage, places: dict[str, int], started: float) -> dict[str, Any]:
    is_answer, at = node.role == "assistant", node.at or started
    files, pictures = _files(node)
    return {
        "parent": None if node.parent is None else places[node.parent],
        "role": node.role,
        "text": node.text,
        "status": node.status if is_answer else "done",
        "model": node.model if is_answer else None,
        "error": node.error if is_answer else None,
        "settings": _settings(node) if is_answer else None,
        "created_at": at,
        "finished_at": (node.finished_at or at) if is_answer else None,
        **(node.results if is_answer else {}),
        "attachments": files,
        "pictures": pictures,
    }


def _files(node: ImportedMessage) -> tuple[str | None, dict[str, bytes]]:
    """The files of a prompt, as the database keeps them, and the bytes of pictures and sounds by
    their digest.

    Those are decoded later, so a digest is still that of the bytes in the file.
    """
    if node.role != "user" or not node.attachments:
        return None, {}
    files, pictures = list[NewAttachment](), dict[str, bytes]()
    for file in node.attachments:
        if "data" not in file:
            files.append(imported_text(file["name"], file["text"], file))
        elif data := _picture(file["data"]):
            found = imported_media(file["name"], data, file)
            files.append(found)
            pictures[found.digest] = data
    return msgspec.json.encode(files).decode(), pictures


def _document(file: Json) -> NewAttachment:
    """A document of a folder; of a picture, which a folder has none of, what is written in it."""
    return imported_text(file["name"], file["text"], file if "pages" in file else {})


def _picture(encoded: str) -> bytes:
    """Decode base64; nothing of what is damaged, or too large."""
    if len(encoded) > 4 * MAX_PICTURE_BYTES // 3 + 4:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return b""


def _settings(node: ImportedMessage) -> str | None:
    """Keep the settings of an answer that this version could have made."""
    made_with = parse_generation_settings(json.dumps(node.settings)) if node.settings else None
    return None if made_with is None else made_with.to_json()


if __name__ == "__main__":
    sys.exit(main())
