"""Tools that are on in a chat, chosen by its user; the chat need not have begun."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from typing import Final, Literal

import aiosqlite

from app.db import chats
from app.db.connection import Database

Permission = Literal["ask", "allow"]
MAX_UNUSED_SETTINGS: Final = 100
"""Chats of one user that were set up and never began; what was chosen for older ones is dropped."""
MAX_TOOLS: Final = 64
"""Tools that may be on in one chat: a model reads what each of them is."""


def parse_permissions(text: str | None) -> dict[str, Permission]:
    """Read what is stored; what cannot be read counts as nothing chosen."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    found = [(str(name), "allow" if value == "allow" else "ask") for name, value in values.items()]
    return dict(found[:MAX_TOOLS])  # type: ignore[arg-type]


class ChatTools:
    """Reads and changes which tools are on in a chat, and which of them run without asking."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def chosen(self, user_id: int, chat_id: str) -> dict[str, Permission]:
        """Map names of tools that are on to whether their calls wait to be allowed."""
        return parse_permissions(await chats.get_tools(self._db, user_id, chat_id))

    async def choose(
        self,
        user_id: int,
        chat_id: str,
        names: Collection[str],
        offered: Collection[str],
        *,
        forget: bool = False,
    ) -> dict[str, Permission]:
        """Switch these on and all others off; of those that are not `offered` now nothing changes.
        What was always allowed stays so while its tool is on, but if that is to be forgotten."""
        before = await self.chosen(user_id, chat_id)
        if forget:
            before = dict.fromkeys(before, "ask")
        kept = [name for name in before if name not in offered]
        wanted = [*kept, *(name for name in offered if name in names)][:MAX_TOOLS]
        return await self._save(user_id, chat_id, {n: before.get(n, "ask") for n in wanted})

    async def allow(self, user_id: int, chat_id: str, name: str) -> None:
        """Let all calls of this tool run in this chat, from now on."""
        before = await self.chosen(user_id, chat_id)
        await self._save(user_id, chat_id, {**before, name: "allow"})

    async def _save(
        self, user_id: int, chat_id: str, chosen: Mapping[str, Permission]
    ) -> dict[str, Permission]:
        text, now = json.dumps(chosen), time.time()

        async def put(connection: aiosqlite.Connection) -> None:
            await chats.put_tools(connection, user_id, chat_id, text, now)
            await chats.trim_unused_settings(connection, user_id, chat_id, MAX_UNUSED_SETTINGS)

        await self._db.write(put)
        return dict(chosen)
