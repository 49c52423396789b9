"""Chats out of Wick and into it: nothing lost on the way, nothing believed, nothing twice."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.conversations.exports import Exports, file_name
from app.conversations.hub import Hub
from app.conversations.imports.chat import ImportedConversation
from app.conversations.imports.formats import parse_export
from app.conversations.imports.imports import Imports
from app.conversations.imports.reader import ReadingLimits
from app.conversations.settings import ChatSettings, parse_stored
from app.db import branches, messages, preferences
from app.db import chats as db_chats
from app.db import imports as rows
from app.db.chats import Chat
from app.db.connection import Database, open_database
from app.db.messages import Message
from app.errors import InvalidMessage, LimitReached
from tests.foreign_files import chatgpt, open_webui

CHAT = "0123456789abcdef"
CHOSEN = ChatSettings(system_prompt="Kurz, bitte.", top_k=40, stop=("Ende",), temperature=0.5)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        yield database


async def every_message(db: Database, chat_id: str) -> list[Message]:
    return [message async for page in branches.pages(db, 1, chat_id) for message in page]


def packed(content: Any) -> io.BytesIO:
    return io.BytesIO(json.dumps(content).encode())


def zipped(**files: Any) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.json", json.dumps(content))
    return file


async def take(db: Database, file: io.BytesIO, user_id: int = 1) -> str:
    return (await Imports(db, Hub()).import_file(user_id, file)).sentence


async def left_behind(db: Database) -> list[Any]:
    """What an import that came to nothing has left in the database."""
    return [
        *await db.fetch_all("SELECT id FROM chats"),
        *await db.fetch_all("SELECT id FROM messages"),
        *await db.fetch_all("SELECT id FROM users WHERE holds_for IS NOT NULL"),
    ]


async def everything(db: Database) -> list[Chat]:
    return [
        chat
        for chat_id in await db_chats.list_ids(db, 1)
        if (chat := await db_chats.get(db, 1, chat_id)) is not None
    ]


async def shown(db: Database, chat: Chat) -> list[tuple[str, str]]:
    return [(m.role, m.text) for m in await messages.load_path(db, 1, chat.id, chat.leaf_id)]


async def test_an_import_says_which_chats_are_in_the_trash(db: Database) -> None:
    await take(db, packed(chatgpt()))
    (chat,) = await everything(db)
    await db.write(lambda c: db_chats.set_timestamp(c, 1, chat.id, "deleted_at", 9.0))
    assert await take(db, packed(chatgpt())) == "0 chats imported, 1 is in the trash."


async def test_an_export_of_chatgpt_is_imported(db: Database) -> None:
    assert await take(db, packed(chatgpt())) == "1 chat imported."
    (chat,) = await everything(db)
    assert (chat.title, chat.model) == ("Foxes", "gpt-4o")
    assert (chat.created_at, chat.updated_at) == (1700000000.0, 1700000100.0)
    assert await shown(db, chat) == [
        ("user", "What is a fox?"),
        ("assistant", "*Result of a tool*\n\n```\nraw search\n```\n\nAn animal."),
        ("user", "[not in the export: a picture or a file]\n\nSee?"),
    ]
    assert [m.text for m in await every_message(db, chat.id)].count("A browser.") == 1


async def test_the_zip_of_chatgpt_is_imported_as_it_comes(db: Database) -> None:
    assert await take(db, zipped(conversations=chatgpt(), user={"id": 1})) == "1 chat imported."
    other = chatgpt()
    other[0]["conversation_id"] = "another"
    parts = {"conversations-000": chatgpt(), "conversations-001": other}
    assert await take(db, zipped(**parts)) == "1 chat imported, 1 was there already."


async def test_an_export_of_open_webui_is_imported(db: Database) -> None:
    assert await take(db, packed(open_webui())) == "1 chat imported."
    (chat,) = await everything(db)
    assert (chat.title, chat.model, chat.archived_at) == ("Herons", "llama3:8b", 1700000002)
    assert await shown(db, chat) == [("user", "What is a heron?"), ("assistant", "A bird.")]
    assert len(await every_message(db, chat.id)) == 3
    assert await take(db, packed(open_webui())) == "0 chats imported, 1 was there already."


async def test_imports_take_only_what_the_user_saw(db: Database) -> None:
    (chat,) = chatgpt()
    chat["mapping"]["first"]["message"]["content"]["parts"] = [
        "A fox.\ue200cite\ue202turn0search1\ue201"
    ]
    chat["mapping"]["thanks"]["message"]["content"]["parts"] = [
        {"content_type": "audio_transcription", "text": "I see.", "direction": "in"},
        {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://x"},
    ]
    await take(db, packed([chat]))
    (taken,) = await everything(db)
    assert [text.rpartition("\n")[2] for _, text in await shown(db, taken)][1:] == [
        "A fox.",
        "I see.",
    ]
    (other,) = open_webui()
    other["chat"]["params"] = {"system": "Be brief.", "temperature": 0.2, "top_k": 10**9, "num": 1}
    other["chat"]["history"]["messages"]["a2"]["content"] = (
        '<details type="reasoning" done="true" duration="2">\n<summary>Thought for 2 seconds'
        "</summary>\n> Has it feathers?\n</details>\nA bird."
    )
    await take(db, packed([other]))
    taken = next(chat for chat in await everything(db) if chat.title == "Herons")
    assert (await shown(db, taken))[-1][1] == (
        "*Thought for 2 seconds*\n\n> Has it feathers?\n\nA bird."
    )
    chosen = parse_stored(await db_chats.get_settings(db, 1, taken.id)).overrides
    assert chosen == {"system_prompt": "Be brief.", "temperature": 0.2}


async def fill(db: Database) -> None:
    async def work(c: aiosqlite.Connection) -> None:
        await db_chats.create(c, CHAT, 1, "Füchse", "tiny", 1.0)
        question = await messages.add_user(c, 1, CHAT, None, "Was?", "c1", 2.0)
        first = await messages.add_answer(c, 1, CHAT, question, "tiny", 3.0)
        counts: dict[str, Any] = {
            "prompt_tokens": 7,
            "decode_seconds": 0.5,
            "context_length": 2048,
            "finish_reason": "length",
        }
        await messages.finish(c, 1, first, "done", "Ein Tier.", 4.0, counts=counts)
        second = await messages.add_answer(c, 1, CHAT, question, "other", 5.0)
        await messages.finish(c, 1, second, "failed", "", 6.0, error="It broke.")
        await db_chats.advance(c, 1, CHAT, first, "tiny", 7.0)
        await db_chats.rename(c, 1, CHAT, "Füchse")
        await db_chats.set_timestamp(c, 1, CHAT, "pinned_at", 8.0)
        await db_chats.put_settings(c, 1, CHAT, CHOSEN.to_json(), 8.0)

    await db.write(work)


async def exported(db: Database) -> bytes:
    return b"".join([piece async for piece in Exports(db).all_json(1)])


async def test_an_export_of_wick_is_imported_whole(db: Database, tmp_path: Path) -> None:
    await fill(db)
    file = await exported(db)
    content = json.loads(file)
    assert (content["format"], content["version"]) == ("wick-chats", 1)
    assert await take(db, io.BytesIO(file)) == "0 chats imported, 1 was there already."
    async with open_database(tmp_path / "other.db") as other:
        assert await take(other, io.BytesIO(file)) == "1 chat imported."
        (chat,) = await everything(other)
        original = await db_chats.get(db, 1, CHAT)
        assert original is not None
        assert replace(chat, pinned_at=8.0) == original
        before = await every_message(db, CHAT)
        after = await every_message(other, CHAT)
        assert [replace(m, client_id=None, is_imported=1) for m in before] == after
        assert parse_stored(await db_chats.get_settings(other, 1, CHAT)) == CHOSEN
        again = json.loads(await exported(other))
        for part in ("messages", "settings"):
            assert again["chats"][0][part] == content["chats"][0][part]


async def test_a_chat_id_of_another_user_is_not_taken_over(db: Database) -> None:
    await fill(db)
    file = await exported(db)
    await db.write(
        lambda c: c.execute("INSERT INTO users (id, name, created_at) VALUES (2, 'two', 1)")
    )
    assert await take(db, io.BytesIO(file), user_id=2) == "1 chat imported."
    (theirs,), _ = await db_chats.page(db, 2, "pinned", 10)
    assert theirs.id != CHAT
    assert await db_chats.owner(db, CHAT) == 1


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (b"", "a supported export"),
        (b"{", "a supported export"),
        (b"\xff\xfe\x00", "a supported export"),
        (b"[" * 100_000, "a supported export"),
        (b"PK\x03\x04 and no more", "a supported export"),
        (b"{}", "does not know"),
        (b"[]", "does not know"),
        (b"3", "does not know"),
        (b'{"format": "wick-chats", "version": 9, "chats": []}', "newer version"),
        (b'{"format": "wick-chats", "version": 1}', "no list of chats"),
        (zipped(user={}).getvalue(), r"no conversations\.json"),
    ],
)
async def test_a_bad_import_file_gives_a_sentence(db: Database, file: bytes, sentence: str) -> None:
    with pytest.raises(InvalidMessage, match=sentence):
        await take(db, io.BytesIO(file))
    assert await everything(db) == []


async def test_an_import_is_whole_or_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = rows.add_chat, 0

    async def fail_at_second(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            raise sqlite3.OperationalError("on purpose")
        return await real(*given)

    monkeypatch.setattr(rows, "add_chat", fail_at_second)
    both = [*chatgpt(), {**chatgpt()[0], "conversation_id": "second"}]
    here = Imports(db, Hub())
    with pytest.raises(Exception, match="on purpose"):
        await here.import_file(1, packed(both))
    await here.settled()
    assert await everything(db) == []
    assert await left_behind(db) == []


async def test_an_import_file_that_is_too_large_is_refused_packed_and_unpacked(
    db: Database,
) -> None:
    here = Imports(db, Hub(), ReadingLimits(size=5000))
    many = chatgpt(text="x" * 9000)
    for file in (packed(many), zipped(conversations=many)):
        with pytest.raises(InvalidMessage, match="too large"):
            await here.import_file(1, file)


async def test_each_user_imports_one_file_at_a_time(db: Database) -> None:
    here = Imports(db, Hub())
    refused = pytest.raises(LimitReached, match="Another import of yours")
    with here.reserve_slot(1), here.reserve_slot(2), refused, here.reserve_slot(1):
        pass
    with here.reserve_slot(1):
        pass


async def test_an_import_that_would_fill_the_memory_is_refused(db: Database) -> None:
    """Three bytes of `[],` become seventy, also in parts."""
    here = Imports(db, Hub(), ReadingLimits(parts=100, commas=1000))
    hostile: dict[str, Any] = {f"conversations-{n}": [[]] * 40 for n in range(3)}
    for file in (packed([[]] * 101), packed([0] * 1002), zipped(**hostile)):
        with pytest.raises(InvalidMessage, match="too large for one import"):
            await here.import_file(1, file)
    assert (await here.import_file(1, packed(chatgpt()))).added == 1


async def test_imports_leave_out_circles_and_loose_ends(db: Database) -> None:
    (chat,) = chatgpt()
    chat["mapping"]["ask"]["parent"] = "thanks"
    chat["mapping"]["alone"] = {
        "id": "alone",
        "parent": "nowhere",
        "message": {
            "author": {"role": "user"},
            "content": {"content_type": "text", "parts": ["x"]},
        },
    }
    assert await take(db, packed([chat])) == "1 chat imported."
    assert await shown(db, (await everything(db))[0]) == [("user", "x")]
    (chat,) = chatgpt()
    chat["mapping"] = {}
    assert await take(db, packed([chat])) == "0 chats imported, 1 was empty."


def test_imports_read_a_message_id_that_comes_twice_once() -> None:
    said = [
        {"id": n, "parent": n - 1 if n else None, "role": "user", "text": str(n)}
        for n in range(40)
        for _ in range(2)
    ]
    (chat,) = parse_export({"format": "wick-chats", "version": 1, "chats": [{"messages": said}]})
    assert isinstance(chat, ImportedConversation)
    assert [node.text for node in chat.nodes] == [str(n) for n in range(40)]


async def test_imports_leave_out_a_number_larger_than_any_float(db: Database) -> None:
    (chat,) = chatgpt()
    chat["create_time"] = chat["update_time"] = 10**400
    assert await take(db, packed([chat])) == "1 chat imported."


async def test_imported_messages_spare_the_ids_of_deleted_ones(db: Database) -> None:
    await fill(db)

    await branches.prepare_removal(db, 1, CHAT, 3)
    await db.write(lambda c: branches.hide_branch(c, 1, CHAT, 3, 2, 9.0))
    assert await take(db, packed(chatgpt())) == "1 chat imported."
    assert await db.write(lambda c: branches.restore_branch(c, 1, CHAT, 3)) == 3


KEYS = (
    *("chat", "history", "messages", "mapping", "message", "author", "role", "content"),
    *("parts", "content_type", "parent", "parentId", "id", "title", "current_node"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner | st.sampled_from(["user", "assistant", "text", "\ud800", "id"]),
            max_size=6,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["mapping", "chat"]), JSON, JSON)
def test_no_content_breaks_the_reader_of_imports(kind: str, inside: Any, other: Any) -> None:
    entry = {kind: inside if isinstance(inside, dict) else {"x": inside}, "title": other}
    for chat in parse_export([entry]):
        assert isinstance(chat, ImportedConversation)
        json.dumps([chat.title, [node.text for node in chat.nodes]]).encode()
        assert chat.current is None or chat.current in {node.key for node in chat.nodes}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Foxes", "Foxes.md"),
        ("../../etc/passwd", "etc passwd.md"),
        ('a"b\r\nX: y', "a b X y.md"),
        ("狐狸 <b>", "狐狸 b.md"),
        ("...", "Chat.md"),
        ("", "Chat.md"),
        ("x" * 200, "x" * 80 + ".md"),
    ],
)
def test_file_names_of_exports_are_safe(title: str, name: str) -> None:
    assert file_name(title, "md") == name


async def test_one_chat_or_all_are_exported_as_markdown(db: Database) -> None:
    await fill(db)
    chat = await db_chats.get(db, 1, CHAT)
    assert chat is not None
    text = b"".join([piece async for piece in Exports(db).markdown(chat)]).decode()
    assert text.startswith("# Füchse\n")
    assert text.endswith("## You\n\nWas?\n\n## tiny\n\nEin Tier.\n")
    await take(db, packed(chatgpt(title="füchse")))
    pieces = [piece async for piece in Exports(db).all_markdown(1)]
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist())[0] == "Füchse.md"
        assert len(archive.namelist()) == 2
        assert archive.read("Füchse.md").decode() == text
    assert [piece async for piece in Exports(db).all_markdown(2)] != pieces


async def test_about_me_is_exported_with_all_chats_and_fills_only_what_is_empty(
    db: Database, tmp_path: Path
) -> None:
    await db.write(lambda c: preferences.put_about(c, 1, "I grow “apples”.", 1.0))
    file = b"".join([piece async for piece in Exports(db).all_json(1)])  # also without any chat
    assert list(json.loads(file)) == ["format", "version", "exported_at", "about", "chats"]
    async with open_database(tmp_path / "other.db") as other:
        done = await take(other, io.BytesIO(file))
        assert done == "0 chats imported. “About me” was filled in."
        assert await preferences.get_about(other, 1) == "I grow “apples”."
        await other.write(lambda c: preferences.put_about(c, 1, "", 2.0))
        await take(other, io.BytesIO(file))
        assert await preferences.get_about(other, 1) == "I grow “apples”."
        assert await take(other, io.BytesIO(file.replace(b"grow", b"eat"))) == "0 chats imported."
        assert await preferences.get_about(other, 1) == "I grow “apples”."
    await take(db, packed(chatgpt()))
    (chat,) = await everything(db)
    assert b"apples" not in b"".join([piece async for piece in Exports(db).json(chat)])


@pytest.mark.parametrize("about", [None, 7, ["x"], " \n", "\ud800" + "x" * 5000])
async def test_an_import_believes_no_about_me_that_is_none(db: Database, about: Any) -> None:
    content = {"format": "wick-chats", "version": 1, "about": about, "chats": []}
    if not isinstance(about, str) or not about.strip():
        with pytest.raises(InvalidMessage):
            await take(db, packed(content))
        assert await preferences.get_about(db, 1) == ""
    else:
        await take(db, packed(content))
        kept = await preferences.get_about(db, 1)
        assert (len(kept), kept[0]) == (4000, "\ufffd")
