"""Folders with their documents: out of Wick and into it, beside all that is there."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from app.conversations.attachments import imported_text
from app.conversations.exports import Exports
from app.conversations.hub import Hub
from app.conversations.imports.imports import Imports
from app.db import attachments, chats, folder_documents, folders, messages
from app.db import imports as rows
from app.db.attachments import NewAttachment
from app.db.connection import Database, open_database
from app.documents.pages import join_pages

CHAT = "0123456789abcdef"
BOOK = imported_text(
    "book.pdf",
    join_pages(["One.", "Two."]),
    {"media_type": "application/pdf", "pages": 2, "note": "Page 3 has no text."},
)
LIST = imported_text("list.txt", "Pears and figs.", {})


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        yield database


async def furnish(db: Database, user_id: int, *files: NewAttachment) -> int:
    """Make a folder with documents; return its id."""

    async def make(c: aiosqlite.Connection) -> int:
        folder = await folders.add(c, user_id, "Work", 1.0)
        await folders.change(c, user_id, folder, "Work", "Be brief.", "tiny")
        for file in files:
            await folder_documents.add(c, user_id, folder, file, 1.0)
        return folder

    return await db.write(make)


async def exported(db: Database) -> bytes:
    return b"".join([piece async for piece in Exports(db).all_json(1)])


async def documents(db: Database, user_id: int = 1) -> dict[str, str]:
    """The texts of the documents in the one folder, by their names."""
    (folder,) = await folders.list_all(db, user_id)
    found = [one.file for one in await folder_documents.list_all(db, user_id, folder.id)]
    texts = await attachments.texts(db, user_id, [file.id for file in found])
    return {file.name: texts[file.id] for file in found}


async def take(db: Database, content: bytes) -> str:
    return (await Imports(db, Hub()).import_file(1, io.BytesIO(content))).sentence


async def test_folders_come_back_with_their_documents(db: Database, tmp_path: Path) -> None:
    folder = await furnish(db, 1, BOOK, LIST)

    async def make(c: aiosqlite.Connection) -> None:
        await c.execute("INSERT INTO users (id, name, created_at) VALUES (2, 'Ben', 1)")
        await chats.create(c, CHAT, 1, "Keys", "tiny", 1.0)
        question = await messages.add_user(c, 1, CHAT, None, "Why?", "c", 1.0)
        await chats.advance(c, 1, CHAT, question, "tiny", 1.0)
        await folders.move(c, 1, CHAT, folder)

    await db.write(make)
    his = await furnish(db, 2, imported_text("his.txt", "Secret of Ben.", {}))
    await db.write(lambda c: folder_documents.share(c, 2, his, is_shared=True))
    assert await db.write(lambda c: folder_documents.use(c, 1, folder, his, is_used=True))
    file = await exported(db)
    assert b"Secret of Ben" not in file
    async with open_database(tmp_path / "other.db") as other:
        assert await take(other, file) == "1 chat and 2 documents of folders imported."
        (there,) = await folders.list_all(other, 1)
        assert (there.name, there.instructions, there.model) == ("Work", "Be brief.", "tiny")
        assert [chat.id for chat in await folders.chats_in(other, 1, there.id, 9)] == [CHAT]
        first, second = [one.file for one in await folder_documents.list_all(other, 1, there.id)]
        assert (first.name, first.kind, first.pages) == ("book.pdf", "document", 2)
        assert (first.media_type, first.note) == ("application/pdf", "Page 3 has no text.")
        assert (second.name, second.kind) == ("list.txt", "text")
        assert await documents(other) == {"book.pdf": BOOK.text, "list.txt": LIST.text}
        assert json.loads(await exported(other))["folders"] == json.loads(file)["folders"]
        assert await take(other, file) == "0 chats imported, 1 was there already."
        assert len(await documents(other)) == 2


async def test_documents_of_a_folder_that_is_there_stay_beside_those_that_come(
    db: Database, tmp_path: Path
) -> None:
    await furnish(db, 1, BOOK, LIST)
    file = await exported(db)
    async with open_database(tmp_path / "other.db") as other:
        await furnish(other, 1, imported_text("list.txt", "Quite another list.", {}), BOOK)
        assert await take(other, file) == "0 chats and 1 document of folders imported."
        assert await documents(other) == {
            "book.pdf": BOOK.text,
            "list.txt": "Quite another list.",
            "list (2).txt": LIST.text,
        }


async def test_an_import_that_fails_leaves_no_document(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(db, 1, BOOK)
    chat = {"id": CHAT, "messages": [{"id": 1, "role": "user", "text": "Why?"}]}
    content = json.loads(await exported(db)) | {"chats": [chat]}

    async def fail(*_: object) -> str:
        raise OSError

    monkeypatch.setattr(rows, "add_chat", fail)
    async with open_database(tmp_path / "other.db") as other:
        imports = Imports(other, Hub())
        with pytest.raises(OSError):
            await imports.import_file(1, io.BytesIO(json.dumps(content).encode()))
        await imports.settled()
        assert await folders.list_all(other, 1) == []
        assert await other.fetch_all("SELECT id FROM attachments") == []


@pytest.mark.parametrize(
    "value",
    [
        "x",
        [1, None, {"name": ""}, {"name": 5, "documents": [{"name": "a", "text": "b"}]}],
        [{"name": "x", "documents": {"name": "a"}}, {"name": "x", "documents": [1, {"text": 2}]}],
    ],
)
async def test_what_is_no_folder_or_document_is_left_out(db: Database, value: Any) -> None:
    chat = {"id": CHAT, "messages": [{"id": 1, "role": "user", "text": "Why?"}]}
    content = {"format": "wick-chats", "version": 1, "folders": value, "chats": [chat]}
    assert await take(db, json.dumps(content).encode()) == "1 chat imported."
    assert await db.fetch_all("SELECT id FROM attachments") == []
