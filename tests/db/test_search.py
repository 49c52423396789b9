"""The index equals the texts whatever happens to them, and finds only one's own."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import asset_dir
from app.db import chats, messages, search
from app.db.connection import Database, open_database
from app.db.search import END, START, SearchQuery, words_of

CHAT = "0123456789abcdef"
TEXTS = st.text(st.sampled_from("ab é狐\0'\"*\x02"), max_size=12)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["chat", "rename", "drop", "ask", "rewrite", "forget", "attach", "describe"]
        ),
        st.integers(0, 5),
        TEXTS,
    ),
    max_size=25,
)


def migrated() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    for path in sorted(asset_dir("migrations").glob("*.sql")):
        connection.executescript(path.read_text())
    return connection


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_search_index_equals_a_rebuilt_one(steps: list[tuple[str, int, str]]) -> None:
    connection = migrated()
    statements = {
        "chat": "INSERT OR IGNORE INTO chats (id, user_id, title, model, created_at, updated_at)"
        " VALUES (:n, 1, :text, 'm', 1, 1)",
        "rename": "UPDATE chats SET title = :text WHERE id = :n",
        "drop": "DELETE FROM chats WHERE id = :n",
        "ask": "INSERT INTO messages (chat_id, role, text, status, created_at,"
        " parent_id) SELECT id, 'user', :text, 'done', 1, (SELECT max(m.id) FROM messages m"
        " WHERE m.chat_id = chats.id) FROM chats WHERE id = :n",
        "rewrite": "UPDATE messages SET text = :text WHERE id % 6 = :n",
        "forget": "DELETE FROM messages WHERE id % 6 = :n",
        "attach": "INSERT INTO attachments (user_id, message_id, name, kind, media_type, size,"
        " digest, text, tokens, created_at) SELECT 1, max(id), :text, 'text', '', 1, '', :text, 1,"
        " 1 FROM messages",
        "describe": "UPDATE attachments SET alt = :text WHERE id % 6 = :n",
    }
    for step, number, text in steps:
        connection.execute(statements[step], {"n": str(number), "text": text})
    for index in ("titles_index", "messages_index", "attachments_index"):
        assert is_intact(connection, index)
    connection.close()


def is_intact(connection: sqlite3.Connection, index: str) -> bool:
    """Whether the index is that of the rows."""
    try:
        connection.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
    except sqlite3.DatabaseError:
        return False
    return True


def test_chats_from_before_the_search_index_are_indexed() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    paths = sorted(asset_dir("migrations").glob("*.sql"))
    for path in paths:
        if path.name.startswith("0004"):
            connection.execute(
                "INSERT INTO chats VALUES ('x', 1, 'Foxes', 'm', 1, 1, 1, NULL, 'words')"
            )
            connection.execute(
                "INSERT INTO messages (chat_id, role, text, status, created_at)"
                " VALUES ('x', 'user', 'red fox', 'done', 1)"
            )
        connection.executescript(path.read_text())
    for index, word in (("titles_index", "foxes"), ("messages_index", "fox")):
        query = f"SELECT count(*) FROM {index} WHERE {index} MATCH ?"  # noqa: S608
        found = connection.execute(query, (word,))
        assert found.fetchone() == (1,)
    connection.close()


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        yield database


async def say(db: Database, text: str, chat_id: str = CHAT, user_id: int = 1) -> int:
    async def work(connection: aiosqlite.Connection) -> int:
        await connection.execute(
            "INSERT OR IGNORE INTO users (id, name, created_at) VALUES (?, ?, 1)",
            (user_id, f"user {user_id}"),
        )
        await chats.create(connection, chat_id, user_id, f"About {text}", "tiny", 1.0)
        return await messages.add_user(
            connection, user_id, chat_id, None, text, f"client {text}", 1.0
        )

    return await db.write(work)


async def found(db: Database, query: str, user_id: int = 1) -> list[str]:
    hits = await search.messages(db, user_id, SearchQuery(words_of(query)), 10)
    return [hit.snippet.replace(START, "[").replace(END, "]") for hit in hits]


@pytest.mark.parametrize(
    ("query", "snippets"),
    [
        ("quick", ["The [quick] brown fóx"]),
        ("QUICK bro", ["The [quick] [brown] fóx"]),
        ("fox", ["The quick brown [fóx]"]),
        ("bro quick", []),
        ('qui"ck', []),
        ("quick OR nothing", []),
        ("quick*", ["The [quick] brown fóx"]),
        ("quick NEAR(", []),
        ("text:quick", []),
        ("-quick", ["The [quick] brown fóx"]),
        ("- quick", ["The [quick] brown fóx"]),
        ("", []),
    ],
)
async def test_special_characters_in_a_search_mean_themselves(
    db: Database, query: str, snippets: list[str]
) -> None:
    await say(db, "The quick brown fóx")
    assert words_of(query) == () or await found(db, query) == snippets


@pytest.mark.parametrize(
    ("query", "snippet"),
    [
        ("狐狸", "敏捷的棕色[狐狸]跳过懒狗"),
        ("跳", "敏捷的棕色狐狸[跳]过懒狗"),
        ("すばや", "[すばや]い茶色の狐"),
        ("여우", "빠른 갈색 [여우]가 뛴다"),
        ("100%", "up to [100%]_of it"),
        ("=>", "a [=>] b"),
        ("🦊", "a [🦊] sat"),
    ],
)
async def test_text_that_the_index_does_not_split_is_found(
    db: Database, query: str, snippet: str
) -> None:
    for text in ("敏捷的棕色狐狸跳过懒狗", "すばやい茶色の狐", "빠른 갈색 여우가 뛴다"):
        await say(db, text)
    for text in ("up to 100%_of it", "a => b", "a 🦊 sat"):
        await say(db, text)
    assert [one.replace("[100]%", "[100%]") for one in await found(db, query)] == [snippet]


@pytest.mark.parametrize(
    ("query", "snippets"),
    [
        ("C++", ["I like [C++] most"]),
        ("c++,", ["I like [C++] most"]),
        ("C#", ["then [C#], then"]),
        (".NET", ["ASP[.NET] it is"]),
        (".ne", ["ASP[.NE]T it is"]),
        ("node.js", ["a [node.js] server"]),
        ("server node.js", ["a [node.js] [server]"]),
        ("москва 東京", ["[МОСКВА] и [東京]", "в[Москва東京]"]),
        ("МОСКВА", ["[МОСКВА] и 東京"]),
        ("don't", ["I [don't] know"]),
        ("foo_bar", ["call [foo_bar]()"]),
        ("--flag", ["with --[flag]"]),
    ],
)
async def test_names_with_punctuation_are_found_as_typed(
    db: Database, query: str, snippets: list[str]
) -> None:
    for text in ("I like C++ most", "a C compiler", "a cat sat", "then C#, then", "ASP.NET it is"):
        await say(db, text)
    for text in ("the net", "a node.js server", "a node, js", "МОСКВА и 東京", "вМосква東京"):
        await say(db, text)
    for text in ("I don't know", "call foo_bar()", "foo bar", "with --flag"):
        await say(db, text)
    plain = [
        one.replace("][", "").replace("[C]++", "[C++]").replace("[C]#", "[C#]")
        for one in await found(db, query)
    ]
    plain = [one.replace("[don]'[t]", "[don't]") for one in plain]
    assert sorted(plain) == sorted(snippets)
    titles = await search.titles(db, 1, SearchQuery(words_of(query)), 20)
    assert (titles != []) == any(text.startswith("I like") for text in snippets)


async def test_the_order_of_hits_tells_nothing_of_other_users_chats(db: Database) -> None:
    """How rare a word is among everybody's must weigh nothing: it would give away their texts."""
    await say(db, "plover plover plover heron")
    await say(db, "plover heron heron heron")
    before = await found(db, "plover heron")
    assert len(before) == 2
    for number in range(20):
        await say(db, f"plover {number}", "0" * 16, user_id=2)
    assert await found(db, "plover heron") == before
    for number in range(60):
        await say(db, f"heron {number}", "1" * 16, user_id=3)
    assert await found(db, "plover heron") == before


async def test_the_best_hit_has_the_word_most_often_in_the_shortest_text(db: Database) -> None:
    await say(db, "otter " + "and something else " * 200)
    await say(db, "an otter, an otter, an otter")
    await say(db, "an otter")
    order = [text.count("[") for text in await found(db, "otter")]
    assert order == [3, 1, 1]
    assert (await found(db, "otter"))[1] == "an [otter]"


async def test_a_search_finds_nothing_of_another_user(db: Database) -> None:
    await say(db, "a secret fox 狐")
    for query in ("fox", "狐"):
        assert await found(db, query)
        assert await found(db, query, user_id=2) == []
        assert await search.titles(db, 2, SearchQuery(words_of(query)), 10) == []
    assert await search.models(db, 2) == []


async def test_a_search_filters_by_state_role_date_and_model(db: Database) -> None:
    await say(db, "fox one", CHAT)
    await say(db, "fox two", "f" * 16)
    await db.write(lambda c: chats.set_timestamp(c, 1, CHAT, "archived_at", 5.0))
    await db.write(lambda c: chats.set_timestamp(c, 1, "f" * 16, "deleted_at", 5.0))

    async def ids(**given: object) -> list[str]:
        query = SearchQuery(("fox",), **given)  # type: ignore[arg-type]
        return [hit.chat_id for hit in await search.messages(db, 1, query, 10)]

    assert await ids() == [CHAT]
    assert await ids(where="archived") == [CHAT]
    assert await ids(where="pinned") == []
    assert await ids(where="trash") == ["f" * 16]
    assert await ids(role="assistant") == []
    assert await ids(role="user") == [CHAT]
    assert await ids(since=2.0) == []
    assert await ids(model="tiny") == []
    titles = await search.titles(db, 1, SearchQuery(("fox",), model="tiny"), 10)
    assert [hit.chat_id for hit in titles] == [CHAT]


async def test_a_running_answer_is_found_only_when_it_has_ended(db: Database) -> None:
    question = await say(db, "hello")
    answer = await db.write(lambda c: messages.add_answer(c, 1, CHAT, question, "tiny", 1.0))
    await db.write(lambda c: messages.checkpoint(c, 1, answer, "a heron", 1.0))
    assert await found(db, "heron") == []
    await db.write(lambda c: messages.finish(c, 1, answer, "done", "a heron flew", 2.0))
    assert await found(db, "heron") == ["a [heron] flew"]
