"""An import takes what is a chat, and says of everything else what it was and why it was left."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.conversations.exports import Exports
from app.conversations.hub import Hub
from app.conversations.imports.imports import ImportReport, Imports
from app.conversations.settings import parse_generation_settings
from app.db import branches, chats, messages
from app.db.connection import Database, open_database
from app.db.messages import Message
from app.errors import InvalidMessage
from app.models.parameters import GenerationSettings
from tests.foreign_files import chatgpt, open_webui


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        yield database


async def take(db: Database, content: Any) -> ImportReport:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await Imports(db, Hub()).import_file(1, io.BytesIO(data))


async def every_message(db: Database, chat_id: str) -> list[Message]:
    return [message async for page in branches.pages(db, 1, chat_id) for message in page]


async def path(db: Database) -> list[tuple[str, str]]:
    """What the only chat shows."""
    (chat_id,) = await chats.list_ids(db, 1)
    chat = await chats.get(db, 1, chat_id)
    assert chat is not None
    return [(m.role, m.text) for m in await messages.load_path(db, 1, chat.id, chat.leaf_id)]


async def every(db: Database) -> list[Message]:
    (chat_id,) = await chats.list_ids(db, 1)
    return await every_message(db, chat_id)


def wick(*said: Any, **chat: Any) -> dict[str, Any]:
    entry = {"id": "0123456789abcdef", "title": "Foxes", "messages": list(said), **chat}
    return {"format": "wick-chats", "version": 1, "chats": [entry]}


def answer(**values: Any) -> list[dict[str, Any]]:
    return [
        {"id": 1, "parent": None, "role": "user", "text": "Was?"},
        {"id": 2, "parent": 1, "role": "assistant", "text": "Tier.", "model": "tiny", **values},
    ]


@pytest.mark.parametrize(
    ("others", "left_out"),
    [
        ([{"id": "f1", "name": "A project"}], [("A project", "not a chat")]),
        ([None], [("entry 1", "not a chat")]),
        ([[], 3, "x"], [(f"entry {n}", "not a chat") for n in (1, 2, 3)]),
        ([{"title": "x", "mapping": {"a": 3}}], []),
    ],
)
async def test_an_odd_entry_of_an_import_does_not_stop_the_others(
    db: Database, others: list[Any], left_out: list[tuple[str, str]]
) -> None:
    report = await take(db, [*others, *chatgpt()])
    assert (report.added, report.left_out, report.omitted) == (1, left_out, len(left_out))


async def test_an_imported_chat_without_messages_counts_as_empty(db: Database) -> None:
    report = await take(db, [{"title": "x", "mapping": None}, *chatgpt()])
    assert report.sentence == "1 chat imported, 1 was empty."


async def test_two_formats_in_one_import_file_are_both_read(db: Database) -> None:
    assert (await take(db, [*open_webui(), *chatgpt()])).added == 2


def zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


async def test_an_odd_part_of_a_zip_does_not_stop_the_others(db: Database) -> None:
    parts = {
        "conversations-000.json": b"[]",
        "conversations-001.json": json.dumps(chatgpt()).encode(),
        "conversations-002.json": b"[{",
        "conversations-003.json": b"7",
    }
    report = await take(db, zipped(parts))
    assert report.added == 1
    assert [name for name, _ in report.left_out] == [
        "conversations-002.json",
        "conversations-003.json",
    ]
    assert report.details[0].startswith("Left out of the import: conversations-002.json (Can")


@pytest.mark.parametrize("place", range(30, 400, 23))
async def test_a_damaged_zip_is_a_sentence(db: Database, place: int) -> None:
    data = bytearray(zipped({"conversations.json": json.dumps(chatgpt()).encode()}))
    data[place % len(data)] ^= 0xFF
    try:
        await take(db, bytes(data))
    except InvalidMessage as error:
        assert str(error).endswith((".", ". Unpack it first."))  # noqa: PT017


async def test_null_counts_as_missing_in_imports(db: Database) -> None:
    (chat,) = chatgpt()
    for item in chat["mapping"].values():
        if item["message"]:
            item["message"] |= {"recipient": None, "metadata": None, "create_time": None}
    chat |= {"create_time": None, "update_time": None, "is_archived": None, "title": None}
    assert (await take(db, [chat])).added == 1
    assert [role for role, _ in await path(db)] == ["user", "assistant", "user"]


async def test_null_counts_as_missing_in_an_export_of_wick(db: Database) -> None:
    nothing = dict.fromkeys(("status", "error", "settings", "created_at", "model"))
    assert (await take(db, wick(*answer(**nothing), settings=None, current=None))).added == 1
    assert [m.status for m in await every(db)] == ["done", "done"]


async def test_a_chat_of_open_webui_without_a_history_is_imported(db: Database) -> None:
    (chat,) = open_webui()
    chat["chat"]["messages"] = [
        {"role": "user", "content": "What is a heron?"},
        {"role": "assistant", "content": [{"type": "text", "text": "A bird."}]},
    ]
    odd: list[Any] = [None, {}, {"messages": {}}]
    for history in odd:
        chat["chat"]["history"] = history
        chat["id"] = str(history)
        report = await take(db, [chat])
        assert report.added == 1
    found = [await every_message(db, one) for one in await chats.list_ids(db, 1)]
    assert [[m.text for m in one] for one in found] == [["What is a heron?", "A bird."]] * 3


def said(role: str, content: Any, recipient: str = "all", name: str | None = None) -> Any:
    return {
        "author": {"role": role, "name": name},
        "content": content,
        "recipient": recipient,
        "metadata": {},
    }


async def test_code_canvas_thoughts_and_results_of_chatgpt_are_imported(db: Database) -> None:
    document = {"name": "fox.py", "type": "code/python", "content": "print('fox')"}
    turns = [
        said("user", {"content_type": "text", "parts": ["Compute."]}),
        said(
            "assistant",
            {"content_type": "thoughts", "thoughts": [{"summary": "Sums", "content": "1 + 1"}]},
        ),
        said("assistant", {"content_type": "code", "language": "python", "text": "1+1"}, "python"),
        said("tool", {"content_type": "execution_output", "text": "2"}, name="python"),
        said(
            "assistant",
            {"content_type": "text", "parts": [json.dumps(document)]},
            "canmore.create_textdoc",
        ),
        said("assistant", {"content_type": "text", "parts": ["It is 2."]}),
        said("user", {"content_type": "code", "language": "unknown", "text": "SELECT 1"}),
        said("assistant", {"content_type": "from_the_future", "text": "Hello."}),
    ]
    mapping = {
        str(n): {"id": str(n), "parent": str(n - 1) if n else None, "message": turn}
        for n, turn in enumerate(turns)
    }
    assert (await take(db, [{"id": "c", "title": "Sum", "mapping": mapping}])).added == 1
    question, whole, code, last = await path(db)
    assert (question, last) == (("user", "Compute."), ("assistant", "Hello."))
    for piece in ("> 1 + 1", "```python\n1+1\n```", "```\n2\n```", "print('fox')", "It is 2."):
        assert piece in whole[1]
    assert code == ("user", "```\nSELECT 1\n```")


ODD: list[Any] = [[], {}, [[]], {"a": []}, "\ud800", 0, -1, 1e308, True, "x" * 3000, "\0", None]


VALUES = (
    *("status", "error", "finish_reason", "model", "settings", "created_at", "finished_at"),
    *("completion_tokens", "decode_seconds", "first_token_seconds", "context_length"),
)


def odd_wick_chats(odd: Any) -> list[dict[str, Any]]:
    """For each value that a chat or an answer has, a chat in which it is an odd one."""
    files = [wick(*answer(**{name: odd})) for name in VALUES]
    files += [wick(*answer(), **{name: odd}) for name in ("settings", "title", "model", "current")]
    return [file["chats"][0] for file in files]


def odd_chatgpt_chats(odd: Any) -> list[dict[str, Any]]:
    (chat,) = chatgpt()
    for node in chat["mapping"].values():
        if node["message"]:
            node["message"]["content"]["content_type"] = odd
    return [chat]


def odd_open_webui_chats(odd: Any) -> list[dict[str, Any]]:
    (chat,) = open_webui()
    chat["chat"] |= {"models": odd, "params": odd, "timestamp": odd}
    return [chat]


@pytest.mark.parametrize("make", [odd_wick_chats, odd_chatgpt_chats, odd_open_webui_chats])
async def test_odd_values_break_neither_import_nor_export(
    db: Database, make: Callable[[Any], list[dict[str, Any]]]
) -> None:
    """All in one file: each chat comes, whatever stands beside it."""
    entries = [
        entry | {("conversation_id" if "mapping" in entry else "id"): f"{number:016x}"}
        for number, entry in enumerate(entry for odd in ODD for entry in make(odd))
    ]
    content = (
        {"format": "wick-chats", "version": 1, "chats": entries}
        if make is odd_wick_chats
        else entries
    )
    report = await take(db, content)
    assert (report.added, report.left_out) == (len(entries), [])
    exported = b"".join([piece async for piece in Exports(db).all_json(1)])
    assert len(json.loads(exported)["chats"]) == len(entries)
    assert b"".join([piece async for piece in Exports(db).all_markdown(1)])


@pytest.mark.parametrize(
    "settings",
    [
        {"x": "\ud800"},
        {"sampling": {"temperature": "x"}},
        {"sampling": {"temperature": 1e308}},
        {"sampling": {}, "stop": "x"},
        {"sampling": None},
        [],
    ],
)
async def test_imported_settings_of_an_answer_are_those_that_wick_could_use(
    db: Database, settings: Any
) -> None:
    await take(db, wick(*answer(settings=settings)))
    assert [m.settings for m in await every(db)] == [None, None]
    assert parse_generation_settings(json.dumps(settings)) is None


async def test_odd_settings_that_an_earlier_version_imported_are_exported_whole(
    db: Database,
) -> None:
    await take(db, wick(*answer(settings=json.loads(GenerationSettings().to_json()))))
    assert [m.settings for m in await every(db)] == [None, GenerationSettings().to_json()]
    for bad in ('{"x": "\\ud800"}', '{"sampling": {"temperature": "x"}}', "{", "[]", '{"a": NaN}'):
        await db.write(lambda c, b=bad: c.execute("UPDATE messages SET settings = ?", (b,)))  # type: ignore[misc]
        data = b"".join([piece async for piece in Exports(db).all_json(1)])
        (chat,) = json.loads(data.decode(), parse_constant=pytest.fail)["chats"]
        assert "settings" not in chat["messages"][1]


async def test_imported_figures_do_not_count_as_speed_of_a_model(db: Database) -> None:
    await take(db, wick(*answer(completion_tokens=10**14, decode_seconds=1.0)))
    (_, huge) = await every(db)
    assert (huge.completion_tokens, huge.decode_seconds) == (None, 1.0)
    await take(db, wick(*answer(completion_tokens=500, decode_seconds=1.0), id="f" * 16))
    assert await messages.recent_tokens_per_second(db, "tiny") is None
