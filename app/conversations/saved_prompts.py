"""Saved prompts: texts that a user puts into a message by their names, with blanks to fill."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Final

import aiosqlite

from app.conversations.settings import sanitize_text
from app.db import saved_prompts
from app.db.connection import Database
from app.db.saved_prompts import SavedPrompt
from app.errors import InvalidEntry, LibraryEntryNotFound

MAX_PROMPTS: Final = 500
MAX_NAME_CHARS: Final = 40
MAX_TEXT_CHARS: Final = 50_000
MAX_BLANKS: Final = 20
_BLANK: Final = re.compile(r"\{\{[ \t]*([^{}\n]{1,60}?)[ \t]*\}\}")
_NAME: Final = re.compile(r"[\w-]+")


class SavedPrompts:
    """A user's library of prompts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self, user_id: int) -> list[SavedPrompt]:
        """List a user's prompts by name."""
        return await saved_prompts.listed(self._db, user_id)

    async def get(self, user_id: int, prompt_id: int) -> SavedPrompt:
        """Raises LibraryEntryNotFound."""
        found = await saved_prompts.get(self._db, user_id, prompt_id)
        if found is None:
            raise LibraryEntryNotFound("There is no such prompt.")
        return found

    async def add(self, user_id: int, name: str, text: str) -> SavedPrompt:
        """Raises InvalidEntry."""
        name, text = checked_name(name), checked_text(text)

        async def save(connection: aiosqlite.Connection) -> int | None:
            if await saved_prompts.count(connection, user_id) >= MAX_PROMPTS:
                raise InvalidEntry(
                    {"name": f"You have {MAX_PROMPTS} saved prompts. Delete some first."}
                )
            return await saved_prompts.add(connection, user_id, name, text, time.time())

        added = await self._db.write(save)
        if added is None:
            raise InvalidEntry({"name": f"You have a prompt named {name} already."})
        return await self.get(user_id, added)

    async def change(self, user_id: int, prompt_id: int, name: str, text: str) -> SavedPrompt:
        """Raises InvalidEntry or LibraryEntryNotFound."""
        name, text, now = checked_name(name), checked_text(text), time.time()
        await self.get(user_id, prompt_id)
        if not await self._db.write(
            lambda c: saved_prompts.change(c, user_id, prompt_id, name, text, now)
        ):
            raise InvalidEntry({"name": f"You have a prompt named {name} already."})
        return await self.get(user_id, prompt_id)

    async def remove(self, user_id: int, prompt_id: int) -> None:
        """Raises LibraryEntryNotFound."""
        if not await self._db.write(lambda c: saved_prompts.remove(c, user_id, prompt_id)):
            raise LibraryEntryNotFound("There is no such prompt.")


def checked_name(name: str) -> str:
    """Make a name that can be typed after a slash, as `my-reply`. Raises InvalidEntry."""
    name = "-".join(sanitize_text(name).strip().removeprefix("/").lower().split())
    if not name:
        raise InvalidEntry({"name": "Enter a name."})
    if not _NAME.fullmatch(name):
        raise InvalidEntry({"name": "Use letters, digits, - and _ only."})
    if len(name) > MAX_NAME_CHARS:
        raise InvalidEntry({"name": f"Use at most {MAX_NAME_CHARS} characters."})
    return name


def checked_text(text: str) -> str:
    """Make the text of a prompt fit for keeping. Raises InvalidEntry."""
    text = sanitize_text(text).strip("\n")
    if not text.strip():
        raise InvalidEntry({"text": "Enter the prompt."})
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidEntry({"text": f"Use at most {MAX_TEXT_CHARS:,} characters."})
    if len(blanks_of(text)) > MAX_BLANKS:
        raise InvalidEntry({"text": f"Use at most {MAX_BLANKS} different blanks."})
    return text


def blanks_of(text: str) -> list[str]:
    """The names of the blanks in a prompt, each once, in their order."""
    return list(dict.fromkeys(match[1] for match in _BLANK.finditer(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The prompt with these values in its blanks; a blank without one stays empty."""
    return _BLANK.sub(lambda match: values.get(match[1], ""), text)
