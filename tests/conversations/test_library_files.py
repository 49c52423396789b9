"""The library as a file: Wick's own, character cards, and what is neither."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.conversations.library_files import LibraryFiles, read_library
from app.conversations.personas import Personas, starters_of
from app.conversations.saved_prompts import SavedPrompts
from app.db.connection import Database, open_database
from app.db.personas import PersonaValues
from app.errors import InvalidMessage

PNG = b"\x89PNG\r\n\x1a\n"
CARD: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Ada",
        "description": "{{char}} is a patient teacher of {{user}}.",
        "personality": "curious",
        "scenario": "",
        "first_mes": "Hello {{user}}, I am {{char}}.",
        "mes_example": "",
        "extensions": {},
    },
}


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        await database.write(
            lambda c: c.execute("INSERT INTO users (id, name, created_at) VALUES (2, 'ben', 1)")
        )
        yield database


def library(db: Database) -> LibraryFiles:
    return LibraryFiles(SavedPrompts(db), Personas(db))


async def test_an_export_comes_back_whole_and_once(db: Database) -> None:
    await SavedPrompts(db).add(1, "reply", "In {{language}}")
    editor = PersonaValues(
        name="Editor", emoji="✍️", instructions="Be brief.", greeting="Hi", model="tiny",
        settings='{"temperature": 0.5, "stop": ["END"]}', starters='["Proofread:"]',
    )  # fmt: skip
    await Personas(db).add(1, editor, PNG + b"x")
    file = await library(db).export(1)
    report = await library(db).take_in(2, file)
    assert report.sentence == "1 prompt and 1 persona imported."
    assert await library(db).export(2) == file
    again = await library(db).take_in(2, file)
    assert again.sentence == "0 prompts and 0 personas imported, 2 skipped."
    other = json.loads(file)
    other["prompts"][0]["text"] = "other"
    other["personas"][0]["instructions"] = "other"
    await library(db).take_in(2, json.dumps(other).encode())
    assert [one.name for one in await SavedPrompts(db).all(2)] == ["reply", "reply-2"]
    assert [one.name for one in await Personas(db).all(2)] == ["Editor", "Editor (2)"]


def in_png(card: Any) -> bytes:
    text = b"chara\0" + base64.b64encode(json.dumps(card).encode())
    return PNG + struct.pack(">I4s", len(text), b"tEXt") + text + b"\0\0\0\0"


async def test_cards_of_other_programs_become_personas(db: Database) -> None:
    for number, data in enumerate(
        (json.dumps(CARD).encode(), in_png(CARD), json.dumps(CARD["data"]).encode())
    ):
        (values, picture), *_ = read_library(data).personas
        assert values.name == "Ada"
        assert (
            values.instructions == "Ada is a patient teacher of the user.\n\nPersonality: curious"
        )
        assert values.greeting == "Hello the user, I am Ada."
        assert picture == (in_png(CARD) if number == 1 else b"")
    await library(db).take_in(1, in_png(CARD))
    (ada,) = await Personas(db).all(1)
    assert ada.picture_type == "image/png"
    card = json.loads(await library(db).card(1, ada.id))
    assert card["spec"] == "chara_card_v2"
    (back, _), *_ = read_library(json.dumps(card).encode()).personas
    assert (back.name, back.instructions) == (ada.name, ada.instructions)
    assert starters_of(back) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\0",
        b"[" * 100_000,
        b"{}",
        b"[1, null]",
        b'{"name": "x"}',
        b'{"format": "wick-chats", "version": 1, "chats": []}',
        b'{"format": "wick-library", "version": 2}',
        PNG,
        PNG + struct.pack(">I4s", 2**31, b"tEXt") + b"chara\0!!",
        in_png("no card"),
    ],
)
def test_what_is_no_library_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        read_library(data)


async def test_what_is_wrong_in_a_file_is_left_out(db: Database) -> None:
    content = {
        "format": "wick-library",
        "version": 1,
        "prompts": [{"name": "ok", "text": "x"}, {"name": "a/b", "text": "x"}, {"name": 3}, 7],
        "personas": [
            {"name": ""},
            {"name": "P", "settings": {"temperature": "hot", "nope": 1}, "starters": [1, "go"]},
            {"name": "Q", "picture": "data:image/svg+xml;base64,PHN2Zz4="},
        ],
    }
    report = await library(db).take_in(1, json.dumps(content).encode())
    assert (report.prompts, report.personas, report.skipped) == (1, 2, 3)
    p, q = await Personas(db).all(1)
    assert (p.settings, starters_of(p), q.picture_type) == ("{}", ["go"], None)
