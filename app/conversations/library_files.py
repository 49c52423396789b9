"""Saved prompts and personas as files: Wick's own JSON, and the cards that other programs exchange.

A card is the JSON of `chara_card_v2` (or of its first version), or a PNG picture that has that JSON
in a text chunk. Nothing of a file is trusted: what is not as it should be is left out.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.conversations.imports.chat import dict_in, dicts_in, list_in, text_in
from app.conversations.personas import (
    MAX_EMOJI_CHARS,
    MAX_GREETING_CHARS,
    MAX_INSTRUCTION_CHARS,
    MAX_NAME_CHARS,
    MAX_PICTURE_BYTES,
    MAX_STARTER_CHARS,
    MAX_STARTERS,
    Personas,
    picture_type,
    starters_of,
    starters_to_json,
)
from app.conversations.saved_prompts import MAX_NAME_CHARS as MAX_PROMPT_NAME_CHARS
from app.conversations.saved_prompts import SavedPrompts
from app.conversations.settings import parse_stored, sanitize
from app.db.personas import Persona, PersonaValues
from app.errors import InvalidEntry, InvalidMessage

FORMAT, VERSION, CARD = "wick-library", 1, "chara_card_v2"
MAX_FILE_BYTES: Final = 8 << 20
MAX_ENTRIES: Final = 1000
UNKNOWN: Final = (
    "Can't read this file. Wick reads its own exports and character cards (JSON or PNG)."
)
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TRIES: Final = 50


@dataclass(slots=True)
class LibraryFile:
    """The content of a file: prompts as name and text, personas with their pictures."""

    prompts: list[tuple[str, str]] = field(default_factory=list)
    personas: list[tuple[PersonaValues, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class LibraryReport:
    """Counts of what an import has added, and of the entries it has left out."""

    prompts: int = 0
    personas: int = 0
    skipped: int = 0

    @property
    def sentence(self) -> str:
        added = f"{_count(self.prompts, 'prompt')} and {_count(self.personas, 'persona')} imported"
        return f"{added}, {self.skipped:,} skipped." if self.skipped else f"{added}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class LibraryFiles:
    """Writes a user's library to a file, and takes one in."""

    def __init__(self, prompts: SavedPrompts, personas: Personas) -> None:
        self._prompts = prompts
        self._personas = personas

    async def export(self, user_id: int) -> bytes:
        """The whole library as JSON."""
        prompts = [{"name": one.name, "text": one.text} for one in await self._prompts.all(user_id)]
        found = [await self._record(user_id, one) for one in await self._personas.all(user_id)]
        content = {"format": FORMAT, "version": VERSION, "prompts": prompts, "personas": found}
        return json.dumps(content, ensure_ascii=False, indent=1).encode()

    async def _record(self, user_id: int, persona: Persona) -> dict[str, Any]:
        record: dict[str, Any] = {
            "name": persona.name,
            "emoji": persona.emoji,
            "instructions": persona.instructions,
            "greeting": persona.greeting,
            "model": persona.model,
            "settings": dict(parse_stored(persona.settings).overrides),
            "starters": starters_of(persona),
        }
        if persona.picture_type:
            data, kind = await self._personas.picture(user_id, persona.id)
            record["picture"] = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        return record

    async def card(self, user_id: int, persona_id: int) -> bytes:
        """One persona as a character card. Raises LibraryEntryNotFound."""
        persona = await self._personas.get(user_id, persona_id)
        data = {
            "name": persona.name,
            "description": persona.instructions,
            "personality": "",
            "scenario": "",
            "first_mes": persona.greeting,
            "mes_example": "",
            "creator_notes": "",
            "system_prompt": "",
            "post_history_instructions": "",
            "alternate_greetings": [],
            "tags": [],
            "creator": "",
            "character_version": "",
            "extensions": {"wick": {"emoji": persona.emoji, "starters": starters_of(persona)}},
        }
        content = {"spec": CARD, "spec_version": "2.0", "data": data}
        return json.dumps(content, ensure_ascii=False, indent=1).encode()

    async def take_in(self, user_id: int, data: bytes) -> LibraryReport:
        """Add what a file has; an entry that is there already is skipped. Raises InvalidMessage."""
        file, report = read_library(data), LibraryReport()
        mine = {(one.name, one.text) for one in await self._prompts.all(user_id)}
        for name, text in file.prompts:
            is_new = (name, text) not in mine
            if is_new and await self._add_prompt(user_id, name, text):
                report.prompts += 1
            else:
                report.skipped += 1
        known = {_essence(one) for one in await self._personas.all(user_id)}
        for values, picture in file.personas:
            if _essence(values) not in known and await self._add_persona(user_id, values, picture):
                report.personas += 1
            else:
                report.skipped += 1
        return report

    async def _add_prompt(self, user_id: int, name: str, text: str) -> bool:
        taken = {one.name for one in await self._prompts.all(user_id)}
        if not (free := _free_name(name, taken, "-{}")):
            return False
        try:
            await self._prompts.add(user_id, free, text)
        except InvalidEntry:
            return False
        return True

    async def _add_persona(self, user_id: int, values: PersonaValues, picture: bytes) -> bool:
        taken = {one.name for one in await self._personas.all(user_id)}
        if not (free := _free_name(values.name, taken, " ({})")):
            return False
        try:
            await self._personas.add(user_id, replace(values, name=free), picture)
        except InvalidEntry:
            return False
        return True


def _essence(persona: PersonaValues) -> tuple[str, str, str]:
    return persona.name, persona.instructions, persona.greeting


def _free_name(name: str, taken: set[str], pattern: str) -> str:
    """The name, or that with a number; empty when all of those are taken."""
    names = [name, *(name + pattern.format(number) for number in range(2, _TRIES))]
    return next((one for one in names if one not in taken), "")


def read_library(data: bytes) -> LibraryFile:
    """Read a file. Raises InvalidMessage when it is none of those that Wick reads."""
    picture = b""
    if data.startswith(_PNG):
        picture, data = data if len(data) <= MAX_PICTURE_BYTES else b"", _card_in_png(data)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(UNKNOWN) from error
    if isinstance(content, dict) and content.get("format") == FORMAT:
        if content.get("version") != VERSION:
            raise InvalidMessage("This file was written by a newer version of Wick. Update Wick.")
        return _own(content)
    cards = [_card(entry) for entry in (content if isinstance(content, list) else [content])]
    found = [(card, picture) for card in cards if card is not None][:MAX_ENTRIES]
    if not found:
        raise InvalidMessage(UNKNOWN)
    return LibraryFile(personas=found)


def _own(content: dict[str, Any]) -> LibraryFile:
    prompts = [
        (text_in(entry.get("name"))[:MAX_PROMPT_NAME_CHARS], text_in(entry.get("text")))
        for entry in dicts_in(content.get("prompts"))
    ]
    found = [
        (_values(entry), _picture(entry.get("picture")))
        for entry in dicts_in(content.get("personas"))
    ]
    return LibraryFile(prompts[:MAX_ENTRIES], found[:MAX_ENTRIES])


def _values(entry: dict[str, Any]) -> PersonaValues:
    return PersonaValues(
        name=" ".join(text_in(entry.get("name")).split())[:MAX_NAME_CHARS],
        emoji=text_in(entry.get("emoji"))[:MAX_EMOJI_CHARS],
        instructions=text_in(entry.get("instructions")).strip()[:MAX_INSTRUCTION_CHARS],
        greeting=text_in(entry.get("greeting")).strip()[:MAX_GREETING_CHARS],
        model=text_in(entry.get("model")),
        settings=sanitize(dict_in(entry.get("settings"))).to_json(),
        starters=_starters(entry.get("starters")),
    )


def _starters(value: Any) -> str:
    texts = [text_in(text)[:MAX_STARTER_CHARS] for text in list_in(value)]
    return starters_to_json([text for text in texts if text.strip()][:MAX_STARTERS])


def _picture(value: Any) -> bytes:
    """A picture in a data URL; nothing when it is none."""
    text = value if isinstance(value, str) else ""
    try:
        data = base64.b64decode(text.partition(";base64,")[2], validate=True)
        if data:
            picture_type(data)
    except (binascii.Error, ValueError, InvalidEntry):
        return b""
    return data


def _card(entry: Any) -> PersonaValues | None:
    """A character card of either version; None for what is none."""
    card = dict_in(entry)
    data = dict_in(card.get("data")) or card
    name = " ".join(text_in(data.get("name") or data.get("char_name")).split())[:MAX_NAME_CHARS]
    told = ("description", "personality", "scenario", "first_mes", "char_persona", "system_prompt")
    if not name or not any(text_in(data.get(one)).strip() for one in told):
        return None
    parts = [
        text_in(data.get("system_prompt")),
        text_in(data.get("description")) or text_in(data.get("char_persona")),
        _titled("Personality", data.get("personality")),
        _titled("Scenario", data.get("scenario") or data.get("world_scenario")),
        _titled("Example dialogue", data.get("mes_example") or data.get("example_dialogue")),
        text_in(data.get("post_history_instructions")),
    ]
    instructions = "\n\n".join(part.strip() for part in parts if part.strip())
    greeting = text_in(data.get("first_mes") or data.get("char_greeting"))
    own = dict_in(dict_in(data.get("extensions")).get("wick"))
    return PersonaValues(
        name=name,
        emoji=text_in(own.get("emoji"))[:MAX_EMOJI_CHARS],
        instructions=_named(instructions, name).strip()[:MAX_INSTRUCTION_CHARS],
        greeting=_named(greeting, name).strip()[:MAX_GREETING_CHARS],
        starters=_starters(own.get("starters")),
    )


def _titled(title: str, value: Any) -> str:
    text = text_in(value).strip()
    return f"{title}: {text}" if text else ""


def _named(text: str, name: str) -> str:
    """Put names where a card has marks for them."""
    for mark, word in (("{{char}}", name), ("<BOT>", name), ("{{user}}", "the user")):
        text = text.replace(mark, word).replace(mark.upper(), word)
    return text.replace("<USER>", "the user").replace("{{original}}", "")


def _card_in_png(data: bytes) -> bytes:
    """The JSON in the text chunk `chara` of a picture. Raises InvalidMessage."""
    for kind, content in _chunks(data):
        if kind == b"tEXt" and content.startswith(b"chara\0"):
            try:
                return base64.b64decode(content[6:], validate=True)
            except binascii.Error as error:
                raise InvalidMessage(UNKNOWN) from error
    raise InvalidMessage("There is no character in this picture.")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size
