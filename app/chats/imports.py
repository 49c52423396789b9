"""Taking in chats from a file that Wick, ChatGPT or Open WebUI has written."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from app.audit import audit
from app.chats.chat_settings import sound
from app.chats.foreign import Foreign, Node, read
from app.chats.hub import Hub
from app.chats.limits import RETRY_SECONDS
from app.chats.titles import NAME_CHARS, title_of
from app.errors import InvalidMessage, LimitReached
from app.store import imports
from app.store.db import Database
from app.store.imports import ImportedChat

log = logging.getLogger(__name__)
LARGEST_FILE = 200 << 20
"""Bytes, packed and unpacked."""
MOST_PARTS, MOST_COMMAS = 5_000_000, 20_000_000
"""Signs of JSON in a file. Each object, list and entry costs many times its size in memory, so that
a file of nothing else would take all there is."""
_INTEGERS = ("prompt_tokens", "cached_tokens", "completion_tokens", "context_length")


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the chats in a file. trashed: those that are there, but in the trash."""

    added: int
    known: int
    empty: int
    trashed: int = 0

    @property
    def sentence(self) -> str:
        parts = [f"{_chats(self.added)} imported"]
        if self.known:
            parts.append(f"{self.known} {'was' if self.known == 1 else 'were'} there already")
        if self.trashed:
            parts.append(f"{self.trashed} {'is' if self.trashed == 1 else 'are'} in the trash")
        if self.empty:
            parts.append(f"{self.empty} {'was' if self.empty == 1 else 'were'} empty")
        return ", ".join(parts) + "."


def _chats(count: int) -> str:
    return "1 chat" if count == 1 else f"{count:,} chats"


class Imports:
    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub
        self._turn = asyncio.Lock()
        self._coming: set[int] = set()

    @contextmanager
    def coming(self, user_id: int) -> Iterator[None]:
        """While a file of theirs comes, which takes its room on the disk: one at a time.

        Raises LimitReached.
        """
        if user_id in self._coming:
            audit("limit-reached", limit="imports", user=user_id)
            raise LimitReached(
                "Another file of yours is being imported. Please wait until that is done.",
                RETRY_SECONDS,
            )
        self._coming.add(user_id)
        try:
            yield
        finally:
            self._coming.discard(user_id)

    async def take(self, user_id: int, file: IO[bytes]) -> Report:
        """Add the chats of this file, all or none.

        Raises InvalidMessage, a sentence, when it is too large, damaged or of an unknown kind.
        """
        async with self._turn:  # one at a time is in memory
            found, empty = await asyncio.to_thread(_parse, file)
            added, trashed = await self._db.write(lambda c: imports.add(c, user_id, found))
        if added:
            self._hub.chats_changed(user_id)
        return Report(added, len(found) - added - trashed, empty, trashed)


def _parse(file: IO[bytes]) -> tuple[list[ImportedChat], int]:
    """The chats in a file, and how many had nothing in them."""
    try:
        foreign = [chat for content in _contents(file) for chat in read(content)]
    except (ValueError, RecursionError, EOFError, OSError, zipfile.BadZipFile) as error:
        log.info("A file was not imported: %s", error)
        raise InvalidMessage("This file is damaged or is no export: it cannot be read.") from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression, or a password
        raise InvalidMessage("This zip cannot be opened here. Unpack it first, please.") from error
    chats = {chat.key: chat for chat in foreign if chat.nodes}
    now = time.time()
    return [_prepared(chat, now) for chat in chats.values()], sum(not c.nodes for c in foreign)


def _contents(file: IO[bytes]) -> list[Any]:
    """The JSON in the file; of a zip, the JSON files that hold chats."""
    size = file.seek(0, 2)
    file.seek(0)
    if size > LARGEST_FILE:
        raise InvalidMessage(f"This file is too large: at most {LARGEST_FILE >> 20} MB, please.")
    if file.read(2) != b"PK":
        file.seek(0)
        return _loaded([file.read()])
    with zipfile.ZipFile(file) as archive:
        members = [m for m in archive.infolist() if _has_chats(m.filename)]
        if not members:
            raise InvalidMessage("There is no conversations.json in this zip.")
        if sum(member.file_size for member in members) > LARGEST_FILE:
            raise InvalidMessage(
                f"What is in this zip is too large: at most {LARGEST_FILE >> 20} MB, please."
            )
        return _loaded([archive.read(member) for member in members])


def _loaded(contents: list[bytes]) -> list[Any]:
    parts = sum(content.count(b"{") + content.count(b"[") for content in contents)
    if parts > MOST_PARTS or sum(content.count(b",") for content in contents) > MOST_COMMAS:
        raise InvalidMessage("There is too much in this file for one import. Split it, please.")
    return [json.loads(content) for content in contents]


def _has_chats(name: str) -> bool:
    """`conversations.json`, or the numbered parts of a large one."""
    return bool(re.fullmatch(r"conversations(-\d+)?\.json", PurePosixPath(name).name))


def _prepared(chat: Foreign, now: float) -> ImportedChat:
    places = {node.key: place for place, node in enumerate(chat.nodes)}
    times = [node.at for node in chat.nodes if node.at is not None]
    created = chat.created_at or min(times, default=now)
    updated = min(now, chat.updated_at or max(times, default=created))
    own_id = chat.key.removeprefix("wick:")
    spare_id, chosen = secrets.token_hex(8), sound(chat.settings)
    first = next((node.text for node in chat.nodes if node.text.strip()), "")
    return ImportedChat(
        id=own_id if re.fullmatch(r"[0-9a-f]{16}", own_id) else spare_id,
        spare_id=spare_id,
        import_key=chat.key,
        title=title_of(chat.title, NAME_CHARS) or title_of(first) or "Imported chat",
        title_source="person" if chat.is_named else "model",
        model=chat.model[:200],
        created_at=created,
        updated_at=updated,
        pinned_at=updated if chat.is_pinned else None,
        archived_at=updated if chat.is_archived else None,
        settings=chosen.to_json() if chosen.chosen else None,
        messages=[_columns(node, places, created) for node in chat.nodes],
        leaf=places[chat.current or chat.nodes[-1].key],
    )


def _columns(node: Node, places: dict[str, int], created: float) -> dict[str, Any]:
    numbers = {k: int(v) if k in _INTEGERS else v for k, v in node.numbers.items()}
    is_answer = node.role == "assistant"
    return {
        "parent": None if node.parent is None else places[node.parent],
        "role": node.role,
        "text": node.text,
        "status": node.status if is_answer else "done",
        "model": node.model if is_answer else None,
        "error": node.error,
        "finish_reason": node.finish_reason,
        "settings": node.settings,
        "created_at": node.at or created,
        "finished_at": (node.at or created) if is_answer else None,
        **numbers,
    }
