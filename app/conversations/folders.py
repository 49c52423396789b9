"""Folders of chats: made, set up, filled and deleted. Everything reaches only its user's own."""

from __future__ import annotations

import time
from typing import Final

import aiosqlite

from app.conversations.hub import Hub
from app.conversations.settings import sanitize_text
from app.db import folders
from app.db.chats import Chat
from app.db.connection import Database
from app.db.folders import Folder
from app.errors import ChatNotFound, InvalidMessage

MAX_FOLDERS: Final = 200
MAX_NAME_CHARS: Final = 100
MAX_INSTRUCTIONS_CHARS: Final = 20_000
MAX_SHOWN: Final = 200
"""Chats of one folder in the list."""


class Folders:
    """The verbs add, change, fold, move and remove."""

    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub

    async def all(self, user_id: int) -> list[Folder]:
        """List them by name."""
        return await folders.list_all(self._db, user_id)

    async def find(self, user_id: int, folder_id: int | None) -> Folder | None:
        """Find a folder; None where there is no such, or none is meant."""
        return None if folder_id is None else await folders.get(self._db, user_id, folder_id)

    async def of_chat(self, user_id: int, chat_id: str) -> Folder | None:
        """Find the folder that a chat is in."""
        return await folders.of_chat(self._db, user_id, chat_id, None)

    async def get(self, user_id: int, folder_id: int) -> Folder:
        """Raises ChatNotFound."""
        found = await folders.get(self._db, user_id, folder_id)
        if found is None:
            raise ChatNotFound("There is no such folder.")
        return found

    async def chats(self, user_id: int, folder: Folder) -> list[Chat]:
        """List what the sidebar shows of a folder that is not folded, newest first."""
        if folder.is_folded:
            return []
        return await folders.chats_in(self._db, user_id, folder.id, MAX_SHOWN)

    async def add(
        self,
        user_id: int,
        name: str,
        instructions: str = "",
        model: str = "",
        *,
        chat_id: str | None = None,
    ) -> Folder:
        """Add a folder, with a chat in it if one is named. Raises InvalidMessage, ChatNotFound."""
        name, instructions = _valid_name(name), _valid_instructions(instructions)
        if len(await self.all(user_id)) >= MAX_FOLDERS:
            raise InvalidMessage(f"You have {MAX_FOLDERS} folders, the limit. Delete one first.")

        async def save(connection: aiosqlite.Connection) -> int:
            added = await folders.add(connection, user_id, name, time.time())
            await folders.change(connection, user_id, added, name, instructions, model)
            if chat_id is not None and not await folders.move(connection, user_id, chat_id, added):
                raise ChatNotFound
            return added

        added = await self._db.write(save)
        self._hub.chat_changed(user_id, chat_id or "")
        return await self.get(user_id, added)

    async def change(
        self, user_id: int, folder_id: int, name: str, instructions: str, model: str
    ) -> None:
        """Rename it and set it up. Raises InvalidMessage, ChatNotFound."""
        name, instructions = _valid_name(name), _valid_instructions(instructions)
        if not await self._db.write(
            lambda c: folders.change(c, user_id, folder_id, name, instructions, model)
        ):
            raise ChatNotFound("There is no such folder.")
        self._hub.folders_changed(user_id)

    async def fold(self, user_id: int, folder_id: int, *, is_folded: bool) -> None:
        """Show only its name in the list, or its chats, too."""
        await self._db.write(lambda c: folders.fold(c, user_id, folder_id, is_folded=is_folded))
        self._hub.folders_changed(user_id)

    async def move(self, user_id: int, chat_id: str, folder_id: int | None) -> None:
        """Put a chat into a folder, or into none. Raises ChatNotFound."""
        if not await self._db.write(lambda c: folders.move(c, user_id, chat_id, folder_id)):
            raise ChatNotFound("There is no such chat or folder.")
        self._hub.chat_changed(user_id, chat_id)

    async def remove(self, user_id: int, folder_id: int) -> None:
        """Delete a folder; its chats stay. Raises ChatNotFound."""
        if not await self._db.write(lambda c: folders.remove(c, user_id, folder_id)):
            raise ChatNotFound("There is no such folder.")
        self._hub.chats_changed(user_id)


def _valid_name(name: str) -> str:
    name = " ".join(sanitize_text(name).split())
    if not name:
        raise InvalidMessage("A folder needs a name.")
    if len(name) > MAX_NAME_CHARS:
        raise InvalidMessage(f"A folder's name can have at most {MAX_NAME_CHARS} characters.")
    return name


def _valid_instructions(text: str) -> str:
    text = sanitize_text(text).strip()
    if len(text) > MAX_INSTRUCTIONS_CHARS:
        raise InvalidMessage(
            f"Instructions can have at most {MAX_INSTRUCTIONS_CHARS:,} characters. Shorten them."
        )
    return text
