"""Personas: instructions with a face, with which a chat begins.

A chat that begins with one gets its settings, as if they had been chosen there; what is changed in
the persona later is for new chats.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import aiosqlite

from app.conversations.settings import ChatSettings, parse_stored, sanitize_text
from app.db import personas
from app.db.connection import Database
from app.db.personas import Persona, PersonaValues
from app.errors import InvalidEntry, LibraryEntryNotFound

MAX_PERSONAS: Final = 200
MAX_NAME_CHARS: Final = 60
MAX_EMOJI_CHARS: Final = 16
MAX_INSTRUCTION_CHARS: Final = 50_000
MAX_GREETING_CHARS: Final = 10_000
MAX_STARTERS, MAX_STARTER_CHARS = 4, 500
MAX_PICTURE_BYTES: Final = 512 << 10
_PICTURES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


class Personas:
    """A user's library of personas."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self, user_id: int) -> list[Persona]:
        """List a user's personas by name."""
        return await personas.listed(self._db, user_id)

    async def get(self, user_id: int, persona_id: int) -> Persona:
        """Raises LibraryEntryNotFound."""
        found = await personas.get(self._db, user_id, persona_id)
        if found is None:
            raise LibraryEntryNotFound("There is no such persona.")
        return found

    async def find(self, user_id: int, persona_id: int | None) -> Persona | None:
        """The persona of a new chat; None when there is no such one."""
        return None if persona_id is None else await personas.get(self._db, user_id, persona_id)

    async def of_chat(self, user_id: int, chat_id: str) -> Persona | None:
        """The persona with which a chat has begun, while there is one."""
        return await personas.of_chat(self._db, user_id, chat_id)

    async def picture(self, user_id: int, persona_id: int) -> tuple[bytes, str]:
        """A picture with its media type. Raises LibraryEntryNotFound."""
        found = await personas.picture(self._db, user_id, persona_id)
        if found is None:
            raise LibraryEntryNotFound("There is no such picture.")
        return found

    async def add(self, user_id: int, values: PersonaValues, picture: bytes = b"") -> Persona:
        """Raises InvalidEntry."""
        values = checked(values)
        kind = picture_type(picture) if picture else None

        async def save(connection: aiosqlite.Connection) -> int | None:
            if await personas.count(connection, user_id) >= MAX_PERSONAS:
                raise InvalidEntry(
                    {"name": f"You have {MAX_PERSONAS} personas. Delete some first."}
                )
            now = time.time()
            added = await personas.add(connection, user_id, values, now)
            if added is not None and picture:
                await personas.set_picture(connection, user_id, added, picture, kind, now)
            return added

        added = await self._db.write(save)
        if added is None:
            raise _taken(values.name)
        return await self.get(user_id, added)

    async def change(
        self, user_id: int, persona_id: int, values: PersonaValues, picture: bytes | None = b""
    ) -> Persona:
        """Change a persona; picture: None removes it, an empty one leaves it.

        Raises InvalidEntry or LibraryEntryNotFound.
        """
        values = checked(values)
        kind = picture_type(picture) if picture else None
        await self.get(user_id, persona_id)

        async def save(connection: aiosqlite.Connection) -> bool:
            now = time.time()
            is_done = await personas.change(connection, user_id, persona_id, values, now)
            if is_done and picture != b"":
                await personas.set_picture(connection, user_id, persona_id, picture, kind, now)
            return is_done

        if not await self._db.write(save):
            raise _taken(values.name)
        return await self.get(user_id, persona_id)

    async def remove(self, user_id: int, persona_id: int) -> None:
        """Raises LibraryEntryNotFound."""
        if not await self._db.write(lambda c: personas.remove(c, user_id, persona_id)):
            raise LibraryEntryNotFound("There is no such persona.")


def _taken(name: str) -> InvalidEntry:
    return InvalidEntry({"name": f"You have a persona named {name} already."})


def checked(values: PersonaValues) -> PersonaValues:
    """Make a persona fit for keeping. Raises InvalidEntry with all that is wrong."""
    name = " ".join(sanitize_text(values.name).split())
    emoji = "".join(sanitize_text(values.emoji).split())
    instructions = sanitize_text(values.instructions).strip()
    greeting = sanitize_text(values.greeting).strip()
    problems: dict[str, str] = {}
    for field, text, most in (
        ("name", name, MAX_NAME_CHARS),
        ("emoji", emoji, MAX_EMOJI_CHARS),
        ("instructions", instructions, MAX_INSTRUCTION_CHARS),
        ("greeting", greeting, MAX_GREETING_CHARS),
    ):
        if len(text) > most:
            problems[field] = f"Use at most {most:,} characters."
    if not name:
        problems["name"] = "Enter a name."
    if any(len(text) > MAX_STARTER_CHARS for text in starters_of(values)):
        problems["starters"] = f"Use at most {MAX_STARTER_CHARS} characters for each."
    if len(starters_of(values)) > MAX_STARTERS:
        problems["starters"] = f"Use at most {MAX_STARTERS}."
    if problems:
        raise InvalidEntry(problems)
    return replace(
        values,
        name=name,
        emoji=emoji,
        instructions=instructions,
        greeting=greeting,
        model=sanitize_text(values.model)[:200],
    )


def picture_type(data: bytes) -> str:
    """The media type of a picture. Raises InvalidEntry for what is none, or too large."""
    if len(data) > MAX_PICTURE_BYTES:
        limit = MAX_PICTURE_BYTES >> 10
        raise InvalidEntry({"picture": f"This picture is too large: the limit is {limit} kB."})
    for begin, kind in _PICTURES.items():
        if data.startswith(begin):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise InvalidEntry({"picture": "Choose a PNG, JPEG, GIF or WebP picture."})


def starters_of(persona: PersonaValues) -> list[str]:
    """Texts that a chat with a persona can begin with."""
    try:
        found = json.loads(persona.starters)
    except ValueError:
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def starters_to_json(texts: Sequence[str]) -> str:
    """Keep the starters that say anything, each on one line."""
    lines = (" ".join(sanitize_text(text).split()) for text in texts)
    return json.dumps([line for line in lines if line], ensure_ascii=False)


def settings_of(persona: Persona) -> ChatSettings:
    """The settings with which a chat begins: the persona's own, and its instructions."""
    chosen = dict(parse_stored(persona.settings).overrides)
    said = f"You began the conversation with these words:\n{persona.greeting}"
    parts = [persona.instructions, said if persona.greeting else ""]
    chosen["system_prompt"] = "\n\n".join(part for part in parts if part) or None
    return ChatSettings(**chosen)
