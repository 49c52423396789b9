"""The columns of a message are declared once, and reach every surface from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from app.api.chats.schemas import MessageObject
from app.conversations.imports.chat import ImportedConversation
from app.conversations.imports.formats import parse_export
from app.db.connection import open_database
from app.db.messages import COLUMNS, FILE_COLUMNS
from app.terminal.records import MessageRecord

ROOT = Path(__file__).parents[2]
ANCHOR = "    thought: str | None = _text_result()\n"
NEW_COLUMNS = """\
    tool_calls: int | None = _count_result(99)
    tool_seconds: float | None = _seconds_result()
    mood: str | None = _text_result("calm", "hasty")
"""
MIGRATION = """\
ALTER TABLE messages ADD COLUMN tool_calls INTEGER;
ALTER TABLE messages ADD COLUMN tool_seconds REAL;
ALTER TABLE messages ADD COLUMN mood TEXT;
"""
# Runs where `app` has these three columns more, and nothing else.
SURFACES = r"""
import asyncio, io, json
from pathlib import Path
from app.api.chats.schemas import message_object
from app.api.docs import openapi
from app.conversations.exports import Exports
from app.conversations.hub import Hub
from app.conversations.imports.imports import Imports
from app.db import branches, chats, messages
from app.db.connection import open_database
from app.db.imports import MESSAGE_COLUMNS

WANTED = {"tool_calls": 3, "tool_seconds": 0.5, "mood": "calm"}
CHAT = "0123456789abcdef"


async def stored(db):
    (chat,) = await chats.list_ids(db, 1)
    return [m async for page in branches.pages(db, 1, chat) for m in page]


async def exported(db):
    return b"".join([piece async for piece in Exports(db).all_json(1)])


async def main():
    async with open_database(Path("one.db").resolve()) as db:
        await db.write(lambda c: chats.create(c, CHAT, 1, "Foxes", "m", 1.0))
        prompt = await db.write(lambda c: messages.add_user(c, 1, CHAT, None, "Hi", "a" * 16, 1.0))
        answer = await db.write(lambda c: messages.add_answer(c, 1, CHAT, prompt, "m", 1.0))
        await db.write(
            lambda c: messages.finish(c, 1, answer, "done", "Ho", 2.0, counts=WANTED)
        )
        shown = message_object((await stored(db))[1], None)
        values = {name: getattr(shown, name) for name in WANTED}
        assert values == WANTED, values
        file = await exported(db)
    record = json.loads(file)["chats"][0]["messages"][1]
    assert WANTED.items() <= record.items(), record
    assert WANTED.keys() <= set(MESSAGE_COLUMNS)
    async with open_database(Path("two.db").resolve()) as db:
        await Imports(db, Hub()).import_file(1, io.BytesIO(file))
        _, message = await stored(db)
        assert {name: getattr(message, name) for name in WANTED} == WANTED, message
        assert json.loads(await exported(db))["chats"][0]["messages"][1] == record
    wrong = file.replace(b'"calm"', b'"loud"').replace(b'"tool_calls": 3', b'"tool_calls": 100')
    async with open_database(Path("three.db").resolve()) as db:
        await Imports(db, Hub()).import_file(1, io.BytesIO(wrong))
        _, message = await stored(db)
        assert (message.tool_calls, message.tool_seconds, message.mood) == (None, 0.5, None)


assert WANTED.keys() <= openapi()["components"]["schemas"]["MessageObject"]["properties"].keys()
asyncio.run(main())
"""


def test_a_new_message_column_is_on_every_surface(tmp_path: Path) -> None:
    """Counts, times and texts: in the API, its documents, exports, imports and their staging."""
    for folder in ("app", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # the folder is a checkout, not a package
    table = tmp_path / "app/db/messages.py"
    text = table.read_text()
    assert text.count(ANCHOR) == 1
    table.write_text(text.replace(ANCHOR, ANCHOR + NEW_COLUMNS))
    number = len(list((tmp_path / "migrations").glob("*.sql"))) + 1
    (tmp_path / f"migrations/{number:04}_tools.sql").write_text(MIGRATION)
    command = [sys.executable, "-c", SURFACES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_the_message_record_has_the_columns_of_the_table(tmp_path: Path) -> None:
    async with open_database(tmp_path / "wick.db") as db:
        rows = await db.fetch_all("SELECT name FROM pragma_table_info('messages')", ())
    assert {row["name"] for row in rows} == COLUMNS.keys()


def test_the_terminal_reads_only_fields_that_the_api_sends() -> None:
    shown = {field.name for field in fields(MessageRecord)}
    assert shown <= set(MessageObject.__struct_fields__)


def test_columns_of_one_server_are_in_no_export() -> None:
    here = {"chat_id", "parent_id", "client_id", "dropped", "is_imported"}
    assert COLUMNS.keys() - set(FILE_COLUMNS) == here


@pytest.mark.parametrize("name", [name for name in FILE_COLUMNS if COLUMNS[name].kind is not str])
def test_results_that_no_run_ends_with_are_not_imported(name: str) -> None:
    row = COLUMNS[name]
    for value, expected in ((row.maximum, row.maximum), (row.maximum + 1, None), (-1, None)):
        message = {"id": 1, "role": "assistant", "text": "x", name: value}
        entry = {"id": "c", "title": "t", "messages": [message]}
        (chat,) = parse_export({"format": "wick-chats", "version": 1, "chats": [entry]})
        assert isinstance(chat, ImportedConversation)
        assert chat.nodes[0].results.get(name) == expected
