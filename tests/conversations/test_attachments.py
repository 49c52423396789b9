"""Files of messages: what can be read, what a model is given, and where they go with a message."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from app.conversations.answer_state import MessageRef
from app.conversations.attachments import (
    MAX_CHARS,
    MAX_FILE_BYTES,
    PromptLimit,
    as_block,
    imported_text,
    read_file,
)
from app.conversations.chat_copies import ChatCopies
from app.conversations.chats import Trash
from app.conversations.exports import Exports
from app.conversations.history import to_turns
from app.conversations.imports import formats
from app.conversations.imports.imports import Imports
from app.conversations.search import ChatSearch
from app.db import attachments as db_attachments
from app.db.attachments import MAX_UNSENT, Attachment
from app.db.connection import Database
from app.db.search import SearchQuery, words_of
from app.errors import AttachmentNotFound, AttachmentRefused, InvalidMessage
from app.inference.protocol import Delta, Generate
from app.models.text.token_count import estimate_tokens
from tests.conversations.services import CHAT, ScriptedServices, finished
from tests.documents.test_reader import FILES
from tests.patience import until


@pytest.mark.parametrize(
    ("kind", "begin", "end"),
    [
        ("text", "Too long", "It gets the passages that fit each question."),
        ("document", "Too long", "It gets the passages that fit each question."),
        ("image", "Too large", "Remove a picture, or choose another model."),
        ("audio", "Too long", "Turn a recording into text, or choose another model."),
    ],
)
def test_what_does_not_fit_says_what_happens_to_it(kind: str, begin: str, end: str) -> None:
    file = Attachment(1, "a", kind, "a/b", 9, 9000, counted_by="small")
    limit = PromptLimit("small", "Small", 3072)
    says = f"for Small, which reads up to 3,072 tokens at once. {end}"
    assert limit.warning(file) == f"{begin} {says}"
    assert limit.warning(replace(file, counted_by="")) == f"Probably {begin.lower()} {says}"


def test_text_in_any_usual_encoding_is_read() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        file = read_file("Grüße.md", "Grüße\r\nund mehr\n".encode(encoding))
        assert (file.name, file.text, file.kind) == ("Grüße.md", "Grüße\nund mehr\n", "text")


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.bin", bytes(range(256)), "a.bin is not a text file"),
        ("a.txt", b"half\0text", "not a text file"),
        ("a.txt", b"\xff\xfe\x00\xd8", "not a text file"),
        ("a.txt", b" \n", "is empty"),
        ("e.txt", b"x" * (MAX_FILE_BYTES + 1), "too large: the limit is 1 MB"),
    ],
)
def test_what_no_model_can_read_is_refused_by_its_name(name: str, data: bytes, why: str) -> None:
    with pytest.raises(AttachmentRefused, match=why):
        read_file(name, data)


def test_names_are_one_line_and_keep_their_ending() -> None:
    assert read_file("C:\\docs\\my\nnotes.py", b"x").name == "my notes.py"
    long = read_file("n" * 300 + ".py", b"x").name
    assert len(long) <= 120
    assert long.endswith("….py")


def test_a_block_is_not_ended_by_what_is_in_it() -> None:
    assert as_block("a.md", "```\nx\n```\n") == "a.md:\n````md\n```\nx\n```\n````"


def test_an_estimate_is_near_what_a_tokenizer_counts() -> None:
    prose = "The quick brown fox jumps over the lazy dog near the river bank. " * 20
    assert 0.6 < estimate_tokens(prose) / (20 * 14) < 1.5


async def add(services: ScriptedServices, name: str = "notes.py", text: str = "x = 1\n") -> int:
    return (await services.attachments.add(1, name, text.encode())).id


async def test_the_model_reads_the_file_before_what_is_asked(services: ScriptedServices) -> None:
    file = await add(services)
    await services.answers.submit(replace(services.prompt("What is x?"), attachments=(file,)))
    question, _ = await services.path()
    assert [one.name for one in question.attachments] == ["notes.py"]
    texts = await db_attachments.texts(services.db, 1, [file])
    (turn,) = to_turns([question], texts)
    assert turn.content == "notes.py:\n```py\nx = 1\n```\n\nWhat is x?"
    await until(lambda: bool(services.runner.sent))
    (sent, *_) = services.runner.sent
    assert isinstance(sent, Generate)
    assert sent.turns[-1].content == turn.content


async def test_a_file_alone_is_a_message_and_names_its_chat(services: ScriptedServices) -> None:
    file = await add(services, "recipe.md", "flour")
    await services.answers.submit(replace(services.prompt(""), attachments=(file,)))
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    assert chat.title == "recipe.md"
    (question, *_) = await services.path()
    assert to_turns([question], {file: "flour"})[0].content == "recipe.md:\n```md\nflour\n```"


async def test_a_file_is_sent_once_and_only_by_its_user(services: ScriptedServices) -> None:
    file = await add(services)
    with pytest.raises(InvalidMessage, match="no longer there"):
        await services.answers.submit(replace(services.prompt("x"), attachments=(file + 1,)))
    assert await services.chats.get(1, CHAT) is None  # nothing was saved
    await services.answers.submit(replace(services.prompt("x"), attachments=(file,)))
    with pytest.raises(InvalidMessage, match="no longer there"):
        await services.answers.submit(
            replace(services.prompt("y", "client02"), attachments=(file,))
        )
    files = services.attachments
    with pytest.raises(AttachmentNotFound):
        await files.get(2, file)
    with pytest.raises(AttachmentNotFound):
        await files.remove(1, file)  # sent by now
    assert await files.unsent(1, [file]) == []


async def test_too_many_and_too_long_files_are_refused(services: ScriptedServices) -> None:
    with pytest.raises(InvalidMessage, match="at most 10 files"):
        await services.answers.submit(
            replace(services.prompt("x"), attachments=tuple(range(1, 12)))
        )
    files = tuple([await add(services, text="x" * (MAX_CHARS // 2 + 1)) for _ in range(2)])
    with pytest.raises(InvalidMessage, match="1,000,002 characters long together"):
        await services.answers.submit(replace(services.prompt("x"), attachments=files))


async def test_unsent_files_do_not_pile_up(services: ScriptedServices) -> None:
    first = await add(services)
    for _ in range(MAX_UNSENT):
        await add(services)
    with pytest.raises(AttachmentNotFound):
        await services.attachments.get(1, first)
    await services.db.write(lambda c: db_attachments.purge_unsent(c, 1e12))
    assert await count(services.db) == 0


async def test_an_edited_prompt_keeps_its_files_and_a_withdrawn_one_gives_them_back(
    services: ScriptedServices,
) -> None:
    one, two = await add(services), await add(services, "more.txt", "more")
    await services.answers.submit(replace(services.prompt("x"), attachments=(one,)))
    waiting = await services.answers.submit(
        replace(services.prompt("y", "client02"), attachments=(two,))
    )
    text, files = await services.answers.withdraw(1, CHAT, waiting.answer_id)
    assert (text, [file.id for file in files]) == ("y", [two])
    assert [file.id for file in await services.attachments.unsent(1, [one, two])] == [two]
    question = (await services.path())[0]
    await services.branches.edit(MessageRef(1, CHAT, question.id), "other words", "client03")
    edited = (await services.path())[0]
    assert edited.text == "other words"
    assert [file.name for file in edited.attachments] == ["notes.py"]
    assert edited.attachments[0].id != one


async def count(db: Database) -> int:
    row = await db.fetch_one("SELECT count(*) AS n FROM attachments")
    assert row is not None
    return int(row["n"])


async def test_files_go_with_an_export_come_with_an_import_and_are_deleted_with_their_chat(
    services: ScriptedServices,
) -> None:
    file = await add(services, "notes.py", "x = 1\n")
    await services.answers.submit(replace(services.prompt("What is x?"), attachments=(file,)))
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    exports = Exports(services.db)
    markdown = b"".join([piece async for piece in exports.markdown(chat)]).decode()
    assert "notes.py:\n```py\nx = 1\n```\n\nWhat is x?" in markdown
    whole = b"".join([piece async for piece in exports.json(chat)])
    (question, *_) = json.loads(whole)["chats"][0]["messages"]
    assert question["attachments"] == [{"name": "notes.py", "kind": "text", "text": "x = 1\n"}]
    await services.chats.delete(1, CHAT)
    await Trash(services.db, services.pool, services.hub).remove(1, CHAT)
    assert await count(services.db) == 0
    report = await Imports(services.db, services.hub).import_file(1, io.BytesIO(whole))
    assert report.added == 1
    question = (await services.path())[0]
    (kept,) = question.attachments
    assert (kept.name, kept.size) == ("notes.py", 6)
    assert await services.attachments.text(1, kept.id) == "x = 1\n"


async def test_words_in_files_are_found_with_the_file(services: ScriptedServices) -> None:
    file = await add(services, "notes.md", "first line\nThe zeppelin lands at noon\n")
    unsent = await add(services, "later.md", "another zeppelin")
    await services.answers.submit(replace(services.prompt("Read this"), attachments=(file,)))
    finder = ChatSearch(services.db)
    for words in ("zeppelin", "zepp", "notes", "notes.md"):
        found = await finder.find(1, SearchQuery(words_of(words)))
        assert [(hit.file, hit.file_id, hit.chat_id) for hit in found.files] == [
            ("notes.md", file, CHAT)
        ]
        assert found.messages == []
        assert (await finder.find(2, SearchQuery(words_of(words)))).files == []
    assert (
        "\x02zeppelin\x03 lands"
        in (await finder.find(1, SearchQuery(words_of("zeppelin")))).files[0].snippet
    )
    models = await finder.find(1, SearchQuery(("zeppelin",), role="assistant"))
    assert models.files == []
    assert unsent != file


async def test_a_chat_that_branches_off_takes_the_files_along(
    services: ScriptedServices,
) -> None:
    file = await add(services)
    await services.answers.submit(replace(services.prompt("x"), attachments=(file,)))
    answer = (await services.path())[-1].id
    await until(lambda: bool(services.runner.sent))
    services.runner.say(Delta(answer, "1"), finished(answer))
    await until(lambda: services.hub.stream(answer) is None)
    ref = MessageRef(1, CHAT, answer)
    copy = await ChatCopies(services.db, services.hub).branch_off(ref)
    (kept,) = (await services.path(copy))[0].attachments
    assert kept.id != file
    assert await services.attachments.text(1, kept.id) == "x = 1\n"


async def test_a_document_is_read_and_goes_with_its_pages(services: ScriptedServices) -> None:
    file = await services.attachments.add(1, "report.pdf", (FILES / "report.pdf").read_bytes())
    assert (file.kind, file.media_type, file.pages) == ("document", "application/pdf", 3)
    await services.answers.submit(replace(services.prompt("How many?"), attachments=(file.id,)))
    await until(lambda: bool(services.runner.sent))
    (sent, *_) = services.runner.sent
    assert isinstance(sent, Generate)
    assert sent.turns[-1].content.startswith("report.pdf:\n```\n[Page 1]\nThe lighthouse of Köln")
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    whole = b"".join([piece async for piece in Exports(services.db).json(chat)])
    await services.chats.delete(1, CHAT)
    await Trash(services.db, services.pool, services.hub).remove(1, CHAT)
    await Imports(services.db, services.hub).import_file(1, io.BytesIO(whole))
    (kept,) = (await services.path())[0].attachments
    assert (kept.kind, kept.media_type, kept.pages) == ("document", "application/pdf", 3)


async def test_an_import_believes_no_type_that_no_document_has(services: ScriptedServices) -> None:
    about = {
        "kind": "document",
        "name": "a.pdf",
        "text": "x",
        "media_type": "text/evil",
        "pages": -1,
    }
    (file,) = formats._files([about])
    assert (file["media_type"], file["pages"]) == ("", 0)
    assert imported_text("a.pdf", "x", file).kind == "text"
