"""Files protected by a passphrase are imported with it, and nothing is lost without it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app import age
from app.conversations.hub import Hub
from app.conversations.imports.imports import Imports
from app.conversations.imports.reader import ReadingLimits
from app.db.connection import Database, open_database
from app.errors import InvalidMessage, InvalidPassphrase
from tests.foreign_files import chatgpt

WORDS = "four words in a row"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        yield database


def protected(data: bytes) -> io.BytesIO:
    file = io.BytesIO()
    writer = age.EncryptedWriter(file, WORDS, 4)
    writer.write(data)
    writer.finish()
    return file


async def test_a_file_is_imported_by_its_passphrase(db: Database) -> None:
    file, here = protected(json.dumps(chatgpt()).encode()), Imports(db, Hub())
    for wrong, why in (("", "is protected"), ("other words", "Wrong passphrase")):
        with pytest.raises(InvalidPassphrase, match=why):
            await here.import_file(1, file, wrong)
        assert await db.fetch_all("SELECT id FROM chats") == []
    assert (await here.import_file(1, file, WORDS)).added == 1


async def test_a_passphrase_of_a_file_without_one_is_ignored(db: Database) -> None:
    file = io.BytesIO(json.dumps(chatgpt()).encode())
    assert (await Imports(db, Hub()).import_file(1, file, WORDS)).added == 1


async def test_a_file_that_is_damaged_or_hostile_is_refused(db: Database) -> None:
    here = Imports(db, Hub(), ReadingLimits(size=5000))
    whole = protected(b"[]").getvalue()
    for data, why in (
        (whole[:-1], "damaged"),
        (whole.replace(b" 4\n", b" 30\n", 1), "too much work"),
        (protected(b"not JSON").getvalue(), "supported export"),
        (protected(b" " * 5001).getvalue(), "too large"),
    ):
        with pytest.raises(InvalidMessage, match=why):
            await here.import_file(1, io.BytesIO(data), WORDS)
