"""Whoever gives another's ids to the store reads nothing and changes nothing."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import aiosqlite
import pytest

from app.db import (
    attachments,
    branches,
    folder_documents,
    folders,
    messages,
    passages,
    personas,
    responses,
    saved_prompts,
    search,
)
from app.db import chats as db_chats
from app.db.attachments import NewAttachment
from app.db.chats import Cursor
from app.db.connection import Database, open_database
from app.db.passages import NewPassage, Term
from app.db.personas import PersonaValues
from app.db.responses import StoredResponse
from app.db.search import SearchQuery
from app.errors import ChatNotFound

CHAT = "0123456789abcdef"
OWNER, STRANGER, THIRD = 1, 2, 3
QUESTION, ANSWER, SECOND, RUNNING, REMOVED = 1, 2, 3, 4, 5
TABLES = (
    *("chats", "messages", "checkpoints", "removals", "removed_messages", "chat_settings"),
    *("attachments", "saved_prompts", "personas", "chat_personas", "folders", "responses"),
    *("documents", "passages", "used_folders"),
)
SENT, UNSENT, KEPT = 1, 2, 3
DOCUMENT, PASSAGE = 1, 1
SCOPE_TERMS = [Term('"pear"')]
SAVED, OTHER_SAVED = 1, 2
FOR_EVERYBODY = {
    # Upkeep of the whole server, the speed of a model, and the refusal of an id that is taken.
    *("recent_tokens_per_second", "purge_unused_settings", "expired", "owner"),
    *("chat_of", "message_of", "words_of", "folded", "marked", "all_chat_ids"),
    # Whoever has the token of a link may read what it shows.
    "get_shared",
    # What was removed goes by the ids of its messages, which `prepare_removal` took from its user.
    *("clear_removal", "clear_unused_removals", "purge_removals"),
    *("purge_unsent", "purge_expired_responses"),
    "purge_unsent",
    *("has_freed", "remove_some_freed", "terms_of", "shown_row"),
    *("of_scope", "rank"),  # of passages: their scope says whose documents it is of
    # Vectors are made for all users, and found in a scope as passages are.
    *("without_vector", "add_vectors", "vectors_of"),
    *("deliver", "deliver_one"),  # of an import, to the user for whom it was read
}
RESPONSE = StoredResponse("resp_1", None, "[]", "{}", 1.0)
FOLDER, EMPTY_FOLDER, FILED_CHAT = 1, 2, "f" * 16
THEIR_FOLDER = 3
PEAR = NewPassage(0, 1, "", "a pear", "", 3)
C = aiosqlite.Connection


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """The owner's chat: three answers beside each other, one of which runs, and a deleted one."""
    async with open_database(tmp_path / "wick.db") as database:
        await database.write(_furnish)
        await branches.prepare_removal(database, OWNER, CHAT, REMOVED)
        await database.write(lambda c: branches.hide_branch(c, OWNER, CHAT, REMOVED, REMOVED, 5.0))
        yield database


async def _furnish(c: C) -> None:
    await c.execute(
        "INSERT INTO users (id, name, created_at) VALUES (2, 'stranger', 1), (3, 'x', 1)"
    )
    await db_chats.create(c, CHAT, OWNER, "Foxes", "tiny", 1.0)
    question = await messages.add_user(c, OWNER, CHAT, None, "a fox 狐", "c1", 1.0)
    answer = await messages.add_answer(c, OWNER, CHAT, question, "tiny", 1.0)
    await messages.finish(c, OWNER, answer, "stopped", "Once upon", 2.0)
    second = await messages.add_answer(c, OWNER, CHAT, question, "tiny", 2.0)
    await messages.finish(c, OWNER, second, "done", "A fox is", 3.0)
    running = await messages.add_answer(c, OWNER, CHAT, question, "tiny", 4.0)
    await messages.checkpoint(c, OWNER, running, "half", 4.0)
    gone = await messages.add_answer(c, OWNER, CHAT, question, "tiny", 5.0)
    await db_chats.advance(c, OWNER, CHAT, running, "tiny", 6.0)
    await db_chats.put_settings(c, OWNER, CHAT, "{}", 6.0)
    assert [question, answer, second, running, gone] == [1, 2, 3, 4, 5]
    file = NewAttachment("a.md", "text", "text/plain", 1, "", "x", 1)
    assert await attachments.add(c, OWNER, file, 1.0, QUESTION) == SENT
    assert await attachments.add(c, OWNER, file, 1.0) == UNSENT
    assert await saved_prompts.add(c, OWNER, "reply", "Hi", 1.0) == SAVED
    assert await personas.add(c, OWNER, PersonaValues(name="Ed"), 1.0) == SAVED
    assert await personas.add(c, OWNER, PersonaValues(name="Al"), 1.0) == OTHER_SAVED
    await personas.set_picture(c, OWNER, SAVED, b"x", "image/png", 1.0)
    await personas.begin_chat(c, OWNER, CHAT, SAVED)
    assert await folders.add(c, OWNER, "Work", 1.0) == FOLDER
    assert await folders.add(c, OWNER, "Empty", 1.0) == EMPTY_FOLDER
    await responses.add(c, OWNER, RESPONSE, 4)
    await db_chats.create(c, FILED_CHAT, OWNER, "Filed", "tiny", 0.5)
    assert await folders.move(c, OWNER, FILED_CHAT, FOLDER)
    assert await folder_documents.add(c, OWNER, FOLDER, file, 1.0) == KEPT
    assert (await passages.add_document(c, OWNER, "digest")).id == DOCUMENT
    await passages.add_passages(c, OWNER, DOCUMENT, [PEAR])
    await passages.complete(c, OWNER, DOCUMENT, 1, 3)
    await passages.link(c, OWNER, SENT, DOCUMENT)
    assert await folders.add(c, THIRD, "Theirs", 1.0) == THEIR_FOLDER
    await folder_documents.share(c, THIRD, THEIR_FOLDER, is_shared=True)


async def _neighbour(c: C, who: int) -> int | None:
    found = await branches.get(c, OWNER, CHAT, ANSWER)
    assert found is not None
    return await branches.sibling_to_show(c, who, found)


async def _gathered(pages: AsyncIterator[list[messages.Message]]) -> list[messages.Message]:
    return [message async for page in pages for message in page]


async def _listed(db: Database, who: int) -> list[db_chats.Chat]:
    return (await db_chats.page(db, who, "listed", 9))[0]


WRITES: dict[str, Callable[[C, int], Awaitable[Any]]] = {
    "add_user": lambda c, who: messages.add_user(c, who, CHAT, None, "x", "c9", 9.0),
    "add_answer": lambda c, who: messages.add_answer(c, who, CHAT, QUESTION, "tiny", 9.0),
    "resume": lambda c, who: messages.requeue(c, who, ANSWER, "x", "{}"),
    "take_back": lambda c, who: messages.withdraw(c, who, RUNNING),
    "checkpoint": lambda c, who: messages.checkpoint(c, who, RUNNING, "x", 9.0),
    "checkpoint anew": lambda c, who: messages.checkpoint(c, who, SECOND, "x", 9.0),
    "finish": lambda c, who: messages.finish(c, who, RUNNING, "done", "x", 9.0),
    "hide": lambda c, who: branches.hide_branch(c, who, CHAT, ANSWER, ANSWER, 9.0),
    "restore": lambda c, who: branches.restore_branch(c, who, CHAT, REMOVED),
    "show": lambda c, who: db_chats.set_leaf(c, who, CHAT, ANSWER),
    "step_back": lambda c, who: db_chats.rewind(c, who, CHAT, RUNNING, SECOND),
    "advance": lambda c, who: db_chats.advance(c, who, CHAT, ANSWER, "other", 9.0),
    "choose_model": lambda c, who: db_chats.choose_model(c, who, CHAT, "other"),
    "rename": lambda c, who: db_chats.rename(c, who, CHAT, "Mine"),
    "give_title": lambda c, who: db_chats.set_generated_title(c, who, CHAT, "Mine"),
    "pin": lambda c, who: db_chats.set_timestamp(c, who, CHAT, "pinned_at", 9.0),
    "mark": lambda c, who: db_chats.set_unread(c, who, CHAT, is_unread=True),
    "settings": lambda c, who: db_chats.put_settings(c, who, CHAT, '{"seed": 1}', 9.0),
    "attach": lambda c, who: attachments.attach(c, who, [UNSENT], QUESTION),
    "set_sources": lambda c, who: messages.set_sources(c, who, RUNNING, "{}"),
    "add_passages": lambda c, who: passages.add_passages(
        c, who, DOCUMENT, [PEAR._replace(number=1)]
    ),
    "complete": lambda c, who: passages.complete(c, who, DOCUMENT, 9, 9),
    "link": lambda c, who: passages.link(c, who, UNSENT, DOCUMENT),
    "remove_passages": passages.remove_some,
    "add_to_folder": lambda c, who: folder_documents.add(
        c, who, FOLDER, NewAttachment("b.md", "text", "text/plain", 1, "", "x", 1), 9.0
    ),
    "remove_from_folder": lambda c, who: folder_documents.remove(c, who, FOLDER, KEPT),
    "share": lambda c, who: folder_documents.share(c, who, FOLDER, is_shared=True),
    "use": lambda c, who: folder_documents.use(c, who, FOLDER, THEIR_FOLDER, is_used=True),
    "set_tokens": lambda c, who: attachments.set_tokens(c, who, SENT, 9, "tiny"),
    "detach": lambda c, who: attachments.detach(c, who, QUESTION),
    "copy": lambda c, who: attachments.copy(c, who, QUESTION, ANSWER, 9.0),
    "change_prompt": lambda c, who: saved_prompts.change(c, who, SAVED, "x", "x", 9.0),
    "remove_prompt": lambda c, who: saved_prompts.remove(c, who, SAVED),
    "change_persona": lambda c, who: personas.change(c, who, SAVED, PersonaValues(name="X"), 9.0),
    "set_picture": lambda c, who: personas.set_picture(c, who, SAVED, None, None, 9.0),
    "remove_persona": lambda c, who: personas.remove(c, who, SAVED),
    "change_folder": lambda c, who: folders.change(c, who, FOLDER, "x", "x", "x"),
    "fold": lambda c, who: folders.fold(c, who, FOLDER, is_folded=True),
    "remove_folder": lambda c, who: folders.remove(c, who, FOLDER),
    "move": lambda c, who: folders.move(c, who, CHAT, EMPTY_FOLDER),
    "remove_response": lambda c, who: responses.remove(c, who, RESPONSE.id),
    "remove_surplus": lambda c, who: responses.remove_surplus(c, who, 0, 0),
    "remove_some": responses.remove_some,
    "remove_unsent": lambda c, who: attachments.remove_unsent(c, who, UNSENT),
}
READS: dict[str, Callable[[C, int], Awaitable[Any]]] = {
    "get_submission": lambda c, who: messages.get_submission(c, who, CHAT, "c1"),
    "find": lambda c, who: branches.get(c, who, CHAT, ANSWER),
    "has_children": lambda c, who: branches.has_children(c, who, QUESTION),
    "has_unfinished_elsewhere": lambda c, who: branches.has_unfinished_elsewhere(c, who, CHAT, 9),
    "newest_leaf": lambda c, who: branches.newest_leaf(c, who, CHAT, None),
    "newest_leaf below": lambda c, who: branches.newest_leaf(c, who, CHAT, QUESTION),
    "neighbour": _neighbour,
    "is_unfinished": lambda c, who: branches.has_unfinished(c, who, REMOVED),
    "is_noted": lambda c, who: branches.is_in_removal(c, who, REMOVED, REMOVED),
    "leaf_with_room": lambda c, who: db_chats.leaf_below_limit(c, who, CHAT, 9),
    "count_prompts": saved_prompts.count,
    "count_personas": personas.count,
    "names": lambda c, who: attachments.names(c, who, [SENT]),
    "leaf_at_rest": lambda c, who: db_chats.leaf_if_idle(c, who, CHAT, is_idle=False),
}
FETCHES: dict[str, Callable[[Database, int], Awaitable[Any]]] = {
    "path": lambda db, who: messages.load_path(db, who, CHAT, RUNNING),
    "find_submission": lambda db, who: messages.find_submission(db, who, CHAT, "c1"),
    "read": lambda db, who: branches.get_message(db, who, CHAT, ANSWER),
    "children": lambda db, who: branches.children(db, who, CHAT, QUESTION),
    "siblings": lambda db, who: branches.sibling_groups(db, who, CHAT),
    "pages": lambda db, who: _gathered(branches.pages(db, who, CHAT)),
    "path_pages": lambda db, who: _gathered(branches.path_pages(db, who, CHAT, RUNNING)),
    "last_below": lambda db, who: branches.deepest_descendant(db, who, CHAT, QUESTION),
    "chat": lambda db, who: db_chats.get(db, who, CHAT),
    "settings": lambda db, who: db_chats.get_settings(db, who, CHAT),
    "listed": _listed,
    "those": lambda db, who: db_chats.get_many(db, who, {CHAT}),
    "newer": lambda db, who: db_chats.newer_than(db, who, Cursor(0.0, "")),
    "every_id": db_chats.list_ids,
    "titles": lambda db, who: search.titles(db, who, SearchQuery(("foxes",)), 9),
    "messages": lambda db, who: search.messages(db, who, SearchQuery(("fox",)), 9),
    "signs": lambda db, who: search.messages(db, who, SearchQuery(("狐",)), 9),
    "words of files": lambda db, who: search.files(db, who, SearchQuery(("x",)), 9),
    "signs of files": lambda db, who: search.files(db, who, SearchQuery(("md", ".")), 9),
    "models": search.models,
    "folders": folders.list_all,
    "folder": lambda db, who: folders.get(db, who, FOLDER),
    "folder_of_chat": lambda db, who: folders.of_chat(db, who, FILED_CHAT, None),
    "new_in_folder": lambda db, who: folders.of_chat(db, who, "e" * 16, FOLDER),
    "chats_in": lambda db, who: folders.chats_in(db, who, FOLDER, 9),
    "prompts": saved_prompts.listed,
    "prompt": lambda db, who: saved_prompts.get(db, who, SAVED),
    "personas": personas.listed,
    "persona": lambda db, who: personas.get(db, who, SAVED),
    "of_chat": lambda db, who: personas.of_chat(db, who, CHAT),
    "picture": lambda db, who: personas.picture(db, who, SAVED),
    "file": lambda db, who: attachments.get(db, who, SENT),
    "files": lambda db, who: attachments.get_many(db, who, [SENT]),
    "unsent": lambda db, who: attachments.unsent(db, who, [UNSENT]),
    "by_message": lambda db, who: attachments.by_message(db, who, [QUESTION]),
    "texts": lambda db, who: attachments.texts(db, who, [SENT]),
    "chars": lambda db, who: attachments.chars(db, who, [SENT]),
    "response": lambda db, who: responses.get(db, who, RESPONSE.id, 0.0),
    "documents_of": lambda db, who: passages.documents_of(db, who, [SENT]),
    "get_many passages": lambda db, who: passages.of_scope(db, {who: [DOCUMENT]}, [PASSAGE]),
    "of_document": lambda db, who: passages.of_document(db, who, DOCUMENT),
    "rank": lambda db, who: passages.rank(db, {who: [DOCUMENT]}, SCOPE_TERMS, 9),
    "folder_documents": lambda db, who: folder_documents.list_all(db, who, FOLDER),
    "folder_document": lambda db, who: folder_documents.find(db, who, FOLDER, KEPT),
    "list_shared": lambda db, who: folder_documents.list_shared(db, who, FOLDER),
    "has_text": lambda db, who: folder_documents.has_text(db, who, "Work", "x"),
    "in_chat": lambda db, who: folder_documents.in_chat(db, who, CHAT),
    "find_shown": lambda db, who: attachments.find_shown(db, who, CHAT, SENT),
}


async def contents(db: Database) -> list[list[tuple[Any, ...]]]:
    return [
        [tuple(row) for row in await db.fetch_all(f"SELECT * FROM {name} ORDER BY 1")]  # noqa: S608
        for name in TABLES
    ]


@pytest.mark.parametrize("name", WRITES)
async def test_another_user_changes_no_row(db: Database, name: str) -> None:
    before = await contents(db)
    with suppress(ChatNotFound):
        await db.write(lambda c: WRITES[name](c, STRANGER))
    assert await contents(db) == before
    await db.write(lambda c: WRITES[name](c, OWNER))
    assert await contents(db) != before


@pytest.mark.parametrize("name", READS)
async def test_another_user_learns_nothing_within_a_transaction(db: Database, name: str) -> None:
    found: Any = None
    with suppress(ChatNotFound):
        found = await db.write(lambda c: READS[name](c, STRANGER))
    assert not found
    assert await db.write(lambda c: READS[name](c, OWNER))


@pytest.mark.parametrize("name", FETCHES)
async def test_another_user_reads_no_row(db: Database, name: str) -> None:
    assert not await FETCHES[name](db, STRANGER)
    assert await FETCHES[name](db, OWNER)


MODULES = (
    *(attachments, branches, db_chats, folder_documents, folders, messages),
    *(passages, personas, responses, saved_prompts, search),
)


@pytest.mark.parametrize("module", MODULES)
def test_every_function_that_reaches_rows_of_users_takes_a_user(module: ModuleType) -> None:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        is_own = function.__module__ == module.__name__ and not name.startswith("_")
        if is_own and name not in FOR_EVERYBODY:
            assert "user_id" in inspect.signature(function).parameters, name
